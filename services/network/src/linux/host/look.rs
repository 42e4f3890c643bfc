//! Looking at the host: what is there, compared with what was made. Nothing is changed here.

use super::{Host, Outcome};
use crate::linux::link::Links;
use crate::linux::wanted::{self, Inside, Step};
use crate::linux::{names, netns, process, watch};
use crate::{DataplaneError, Found};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use strata_events::{NetworkId, PortId};

/// What was last seen.
pub(super) struct Reality {
    pub links: Links,
    pub inside: BTreeMap<NetworkId, Inside>,
    pub judged: Judged,
}

/// What all ports, or those of a network, have in common: found out when it is first asked for. The texts that it takes grow with
/// the ports, and it is asked for each of them.
#[derive(Default)]
pub(super) struct Judged {
    filtered: OnceCell<bool>,
    served: RefCell<BTreeMap<NetworkId, bool>>,
}

impl Host {
    /// What is known may be out of date: of devices and processes, and of the packet filter as well.
    pub fn doubt(&mut self, filter: bool) {
        self.reality = None;
        if filter {
            self.listed = None;
        }
    }

    /// Looks at everything, once, until there is doubt again.
    pub async fn look(&mut self) -> Outcome<()> {
        if self.reality.is_some() {
            return Ok(());
        }
        let links = self.root.links().await?;
        let mut inside = BTreeMap::new();
        for id in self.used() {
            let seen = self.look_inside(&id).await.unwrap_or_else(|why| {
                tracing::warn!(network = %id, %why, "the network's namespace can't be looked at");
                Inside::default()
            });
            inside.insert(id, seen);
            let directory = self.state.network(&id);
            if let Some(network) = self.networks.get_mut(&id)
                && network.dnsmasq.as_ref().is_none_or(|d| !process::runs(d, &directory))
            {
                network.dnsmasq = process::running(&directory).into_iter().next();
            }
        }
        self.listing().await?;
        self.reality = Some(Reality { links, inside, judged: Judged::default() });
        Ok(())
    }

    pub(super) async fn look_inside(&mut self, id: &NetworkId) -> Outcome<Inside> {
        let path = names::namespace(&self.config.netns_dir, id);
        let namespace = netns::identity(&path).map_err(|e| DataplaneError::Unavailable(format!("{}: {e}", path.display())))?;
        let Some(network) = self.networks.get_mut(id) else { return Ok(Inside::default()) };
        if network.inside.as_ref().map(|(identity, ..)| *identity) != namespace {
            if let Some((_, _, watch)) = network.inside.take() {
                watch.abort();
            }
            if let Some(identity) = namespace {
                let (netlink, watch) = watch::enter(&path, self.changes.clone(), self.stir.clone())?;
                network.inside = Some((identity, netlink, watch));
            }
        }
        let Some((_, netlink, _)) = &network.inside else { return Ok(Inside::default()) };
        let links = netlink.links().await?;
        let addresses = match links.get(&names::namespace_end(id)) {
            Some(link) => netlink.addresses(link.index).await?,
            None => BTreeSet::new(),
        };
        Ok(Inside { namespace, links, addresses })
    }

    /// Whether a port is all there. Looks first.
    pub fn is_whole(&self, id: &PortId) -> bool {
        let (Some(port), Some(reality)) = (self.ports.get(id), &self.reality) else { return false };
        let network = &port.plug.network;
        let nothing = |steps: Outcome<Vec<Step>>| steps.is_ok_and(|s| s.is_empty());
        let devices = || {
            let (Some(view), Some(inside)) = (self.view(network), reality.inside.get(network)) else { return false };
            nothing(wanted::network(network, view, &reality.links, inside)) && nothing(wanted::port(id, &port.plug, &reality.links, true))
        };
        let filtered = || *reality.judged.filtered.get_or_init(|| self.is_filtered());
        let served = || *reality.judged.served.borrow_mut().entry(*network).or_insert_with(|| self.is_served(network));
        port.done && devices() && filtered() && served()
    }

    /// What the packet filter or a dnsmasq has was changed.
    pub(super) fn judge_anew(&mut self) {
        if let Some(reality) = &mut self.reality {
            reality.judged = Judged::default();
        }
    }

    pub async fn find(&mut self, id: &PortId) -> Outcome<Found> {
        self.look().await?;
        let there = || self.reality.as_ref().is_some_and(|r| r.links.contains_key(&names::tap(id)));
        Ok(match self.ports.get(id) {
            Some(port) if self.is_whole(id) => Found::Whole(Box::new(port.plug.clone())),
            Some(_) => Found::Part,
            None if self.leaving.contains_key(id) || there() => Found::Part,
            None => Found::Nothing,
        })
    }

    /// Whether a dnsmasq or a namespace is not what was last seen. Cheap: for every second or two.
    pub fn stirred(&self) -> bool {
        self.networks.iter().any(|(id, network)| {
            let directory = self.state.network(id);
            let gone = network.dnsmasq.as_ref().is_some_and(|d| !process::runs(d, &directory));
            let path = names::namespace(&self.config.netns_dir, id);
            let identity = network.inside.as_ref().map(|(identity, ..)| *identity);
            gone || identity.is_some() && netns::identity(&path).ok().flatten() != identity
        })
    }
}
