//! The host as it is and as it shall be. One thing is changed at a time; what many ports share (the packet filter, a network's
//! dnsmasq) is brought up to date once for all that wait ([`Host::flush`]). `devices`, `filter` and `serve` are the hands.

mod devices;
mod filter;
mod serve;

use super::link::{Changes, Kind, Links, Netlink};
use super::process::{self, Dnsmasq};
use super::state::{NetworkState, PortState, RulesState, State, Tap};
use super::wanted::{self, Inside, Step};
use super::{LinuxConfig, names, netns};
use crate::{DataplaneError, Found};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strata_events::{NetworkId, PortId, SecurityGroupId};
use strata_projections::plan::port::PlannedPlug;

type Outcome<T> = Result<T, DataplaneError>;

pub(super) struct Network {
    pub state: NetworkState,
    inside: Option<(netns::Identity, Netlink, tokio::task::AbortHandle)>,
    dnsmasq: Option<Dnsmasq>,
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some((_, _, watch)) = &self.inside {
            watch.abort();
        }
    }
}

/// What was last seen.
struct Reality {
    links: Links,
    inside: BTreeMap<NetworkId, Inside>,
    judged: Judged,
}

/// What all ports, or those of a network, have in common: found out when it is first asked for. The texts that it takes grow with
/// the ports, and it is asked for each of them.
#[derive(Default)]
struct Judged {
    filtered: OnceCell<bool>,
    served: RefCell<BTreeMap<NetworkId, bool>>,
}

/// A call that is changing things, as long as this lives.
pub(super) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Host {
    pub config: LinuxConfig,
    pub state: State,
    pub changes: Changes,
    root: Netlink,
    pub ports: BTreeMap<PortId, PortState>,
    /// Ports that are being removed.
    leaving: BTreeMap<PortId, Option<NetworkId>>,
    pub groups: BTreeMap<SecurityGroupId, Vec<IpNet>>,
    /// The groups that were told of in this life, each with the wish that its last change was.
    told: BTreeMap<SecurityGroupId, u64>,
    pub networks: BTreeMap<NetworkId, Network>,
    rules: RulesState,
    /// How the packet filter lists its rules, if nothing has changed since it was asked.
    listed: Option<String>,
    /// Grows with every wish; `flushed` is the last that packet filter and dnsmasq know of.
    wish: u64,
    flushed: u64,
    dirty: BTreeSet<NetworkId>,
    /// Why a network's dnsmasq could not be brought up to date.
    unserved: BTreeMap<NetworkId, DataplaneError>,
    /// Ports that may let less through than before.
    stricter: BTreeSet<PortId>,
    /// Addresses that have another owner than before, or none, by their networks' zones.
    handed_on: BTreeSet<(u16, IpAddr)>,
    /// How many calls are changing things just now.
    running: Arc<AtomicUsize>,
    reality: Option<Reality>,
    /// Told when something inside a namespace changes.
    stir: Arc<super::watch::Stir>,
}

fn digest(text: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    tokio::task::spawn_blocking(what).await.map_err(|e| DataplaneError::Failed(format!("a step broke off: {e}")))?
}

impl Host {
    pub fn open(config: LinuxConfig, stir: Arc<super::watch::Stir>) -> Outcome<Self> {
        let changes = Changes::default();
        let (state, stored) = State::open(&config.state_dir, changes.clone())?;
        let root = Netlink::open(changes.clone()).map_err(|e| DataplaneError::Unavailable(format!("no netlink: {e}")))?;
        let networks = stored.networks.into_iter().map(|(id, state)| (id, Network { state, inside: None, dnsmasq: None })).collect();
        Ok(Self {
            config,
            state,
            changes,
            root,
            ports: stored.ports,
            leaving: stored.torn.into_iter().map(|id| (id, None)).collect(),
            groups: stored.groups,
            told: BTreeMap::new(),
            networks,
            rules: stored.rules,
            listed: None,
            wish: 0,
            flushed: 0,
            dirty: BTreeSet::new(),
            unserved: BTreeMap::new(),
            stricter: BTreeSet::new(),
            handed_on: BTreeSet::new(),
            running: Arc::default(),
            reality: None,
            stir,
        })
    }

    /// What is known may be out of date: of devices and processes, and of the packet filter as well.
    pub fn doubt(&mut self, filter: bool) {
        self.reality = None;
        if filter {
            self.listed = None;
        }
    }

    /// Says that a call begins to change things; it has ended when this is dropped.
    pub fn running(&self) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(self.running.clone())
    }

    /// Whether ports, packet filter and dnsmasq are just being brought to what was wished.
    pub fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// What is known of a network: what the port says that knows most.
    fn view(&self, network: &NetworkId) -> Option<&PlannedPlug> {
        let of_it = self.ports.values().map(|p| &p.plug).filter(|p| p.network == *network);
        of_it.max_by_key(|p| p.network_revision)
    }

    fn used(&self) -> BTreeSet<NetworkId> {
        self.ports.values().map(|p| p.plug.network).collect()
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

    async fn look_inside(&mut self, id: &NetworkId) -> Outcome<Inside> {
        let path = names::namespace(&self.config.netns_dir, id);
        let namespace = netns::identity(&path).map_err(|e| DataplaneError::Unavailable(format!("{}: {e}", path.display())))?;
        let Some(network) = self.networks.get_mut(id) else { return Ok(Inside::default()) };
        if network.inside.as_ref().map(|(identity, ..)| *identity) != namespace {
            if let Some((_, _, watch)) = network.inside.take() {
                watch.abort();
            }
            if let Some(identity) = namespace {
                let (netlink, watch) = super::watch::enter(&path, self.changes.clone(), self.stir.clone())?;
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
    fn judge_anew(&mut self) {
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

    /// Notes what a port shall be. Returns the wish to flush.
    pub fn wish(&mut self, id: &PortId, plug: &PlannedPlug) -> Outcome<u64> {
        self.leaving.remove(id);
        let zone = self.zone(&plug.network)?;
        if !self.networks.contains_key(&plug.network) {
            let state = NetworkState { zone, leases: BTreeMap::new(), read: String::new() };
            self.state.put_network(&plug.network, &state)?;
            self.networks.insert(plug.network, Network { state, inside: None, dnsmasq: None });
        }
        self.hand_on(id, plug, zone);
        if self.ports.get(id).is_none_or(|p| p.plug != *plug) {
            let number = self.ports.get(id).map_or_else(|| self.free_number(), |p| Some(p.number));
            let number = number.ok_or_else(|| DataplaneError::Failed("this host has 65535 ports, and room for no more".into()))?;
            let tap = self.ports.get(id).map_or(Tap::New, |p| p.tap);
            let port = PortState { plug: plug.clone(), number, done: false, tap };
            self.state.put_port(id, &port)?;
            self.ports.insert(*id, port);
        }
        self.reality = None;
        Ok(self.next_wish(plug.network))
    }

    /// Notes which connections have to be judged, or to end, when a port becomes what this says.
    fn hand_on(&mut self, id: &PortId, plug: &PlannedPlug, zone: u16) {
        let addresses = |plug: &PlannedPlug| plug.fixed_ips.iter().map(|f| (zone, f.ip)).collect::<BTreeSet<_>>();
        let now = addresses(plug);
        // What an earlier worker began it may not have ended: what it loaded was perhaps not yet applied to what went on. A port
        // that it never wholly made has no connections of its own.
        let Some(PortState { plug: was, done, .. }) = self.ports.get(id).filter(|p| p.done || p.tap != Tap::New) else {
            return self.handed_on.extend(now);
        };
        if was.rules != plug.rules
            || was.address_pairs != plug.address_pairs
            || was.stateful != plug.stateful
            || !was.port_security_enabled
            || !done
        {
            self.stricter.insert(*id);
        }
        self.handed_on.extend(now.symmetric_difference(&addresses(was)));
    }

    fn next_wish(&mut self, network: NetworkId) -> u64 {
        self.dirty.insert(network);
        self.wish += 1;
        self.wish
    }

    /// The lowest number that no port has.
    fn free_number(&self) -> Option<u16> {
        let taken: BTreeSet<u16> = self.ports.values().map(|p| p.number).collect();
        (1..=u16::MAX).find(|n| !taken.contains(n))
    }

    /// A network's conntrack zone: its own if it has one, else one that none here has. Begun from its id, so that another cloud
    /// on this machine seldom has the same.
    fn zone(&self, id: &NetworkId) -> Outcome<u16> {
        if let Some(network) = self.networks.get(id) {
            return Ok(network.state.zone);
        }
        let taken: BTreeSet<u16> = self.networks.values().map(|n| n.state.zone).collect();
        let [a, b, ..] = *id.0.as_bytes();
        let first = u16::from_be_bytes([a, b]);
        let mut zones = (0..u16::MAX).map(|n| first.wrapping_add(n)).filter(|z| *z != 0);
        zones.find(|z| !taken.contains(z)).ok_or_else(|| DataplaneError::Failed("this host has no room for more networks".into()))
    }

    /// Brings the packet filter and every network that changed up to this wish, and to all that came meanwhile. What one
    /// network lacks is the trouble of its own ports only.
    pub async fn flush(&mut self, wish: u64, own: Option<&NetworkId>) -> Outcome<()> {
        if self.flushed < wish {
            let all = self.wish;
            self.filter().await?;
            for network in std::mem::take(&mut self.dirty) {
                match self.serve(&network).await {
                    Ok(()) => drop(self.unserved.remove(&network)),
                    Err(why) => drop(self.unserved.insert(network, why)),
                }
            }
            self.flushed = all;
        }
        own.and_then(|network| self.unserved.get(network)).map_or(Ok(()), |why| Err(why.clone()))
    }

    /// It is all there now.
    pub fn done(&mut self, id: &PortId) -> Outcome<()> {
        if let Some(port) = self.ports.get_mut(id)
            && !port.done
        {
            port.done = true;
            port.tap = Tap::Made;
            self.state.put_port(id, port)?;
        }
        Ok(())
    }

    /// Takes a port's tap away, and notes that all of it shall go.
    pub async fn leave(&mut self, id: &PortId) -> Outcome<u64> {
        let name = names::tap(id);
        let network = match self.ports.remove(id) {
            Some(port) => {
                let zone = self.networks.get(&port.plug.network).map(|n| n.state.zone);
                self.handed_on.extend(zone.iter().flat_map(|zone| port.plug.fixed_ips.iter().map(|f| (*zone, f.ip))));
                Some(port.plug.network)
            }
            None => self.leaving.get(id).copied().flatten(),
        };
        self.leaving.insert(*id, network);
        self.reality = None;
        if let Some(link) = self.root.links().await?.get(&name).filter(|l| l.kind == Kind::Tap) {
            self.root.delete(&name, link.index).await?;
        }
        Ok(match network {
            Some(network) => self.next_wish(network),
            None => {
                self.wish += 1;
                self.wish
            }
        })
    }

    /// Removes what only this port needed.
    pub async fn left(&mut self, id: &PortId) -> Outcome<()> {
        let mut failed = self.without_unused().await;
        for (network, why) in &failed {
            tracing::warn!(%network, %why, "a network that no port is on can't be removed");
        }
        let own = self.leaving.get(id).copied().flatten();
        own.and_then(|network| failed.remove(&network)).map_or(Ok(()), Err)?;
        self.state.forget_port(id)?;
        self.leaving.remove(id);
        Ok(())
    }

    /// Removes networks on which no port is plugged any more. Says which of them are still there, and why.
    pub async fn without_unused(&mut self) -> BTreeMap<NetworkId, DataplaneError> {
        let used = self.used();
        let unused: Vec<NetworkId> = self.networks.keys().filter(|id| !used.contains(id)).copied().collect();
        let mut failed = BTreeMap::new();
        for id in unused {
            if let Err(why) = self.remove_network(&id).await {
                failed.insert(id, why);
            }
        }
        failed
    }

    async fn remove_network(&mut self, id: &NetworkId) -> Outcome<()> {
        self.stop(id).await?;
        let bridge = names::bridge(id);
        if let Some(link) = self.root.links().await?.get(&bridge).filter(|l| l.kind == Kind::Bridge) {
            self.root.delete(&bridge, link.index).await?;
        }
        self.state.forget_network(id)?;
        self.networks.remove(id);
        self.unserved.remove(id);
        Ok(())
    }

    /// Notes who is in a group. Returns the wish to flush, if any port's rules name it.
    pub fn members(&mut self, id: &SecurityGroupId, members: &[IpNet]) -> Outcome<Option<u64>> {
        use strata_projections::plan::port::Remote;
        if self.groups.get(id).is_some_and(|m| m == members) {
            // Told again because it could not be loaded, or a worker that was before this one knew it.
            let last = *self.told.entry(*id).or_default();
            return Ok((self.flushed < last).then_some(last));
        }
        self.told.entry(*id).or_default();
        let within = |net: &IpNet| members.iter().any(|m| m.contains(net));
        let fewer = self.groups.get(id).is_some_and(|before| !before.iter().all(within));
        self.state.put_group(id, members)?;
        self.groups.insert(*id, members.to_vec());
        let names = |p: &PortState| p.plug.rules.iter().any(|r| r.remote == Remote::Group(*id));
        let naming: Vec<PortId> = self.ports.iter().filter(|(_, p)| names(p)).map(|(id, _)| *id).collect();
        if naming.is_empty() {
            return Ok(None);
        }
        if fewer {
            self.stricter.extend(naming);
        }
        self.reality = None;
        self.wish += 1;
        self.told.insert(*id, self.wish);
        Ok(Some(self.wish))
    }

    /// Forgets groups that an earlier worker was told of and no port's rules name. One told of in this life may have come before
    /// the port that needs it.
    pub fn without_unnamed(&mut self) -> Outcome<()> {
        use strata_projections::plan::port::Remote;
        let rules = self.ports.values().flat_map(|p| &p.plug.rules);
        let named: BTreeSet<SecurityGroupId> =
            rules.filter_map(|r| if let Remote::Group(id) = r.remote { Some(id) } else { None }).collect();
        let unnamed: Vec<SecurityGroupId> =
            self.groups.keys().filter(|id| !named.contains(id) && !self.told.contains_key(id)).copied().collect();
        for id in unnamed {
            self.state.forget_group(&id)?;
            self.groups.remove(&id);
        }
        Ok(())
    }

    /// Every port of which there may be something here.
    pub fn known(&self) -> Vec<PortId> {
        self.ports.keys().chain(self.leaving.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect()
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
