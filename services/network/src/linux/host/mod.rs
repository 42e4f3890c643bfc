//! The host as it is and as it shall be. One thing is changed at a time; what many ports share (the packet filter, a network's
//! dnsmasq) is brought up to date once for all that wait ([`Host::flush`]). `look` is the eyes; `devices`, `filter`,
//! `serve` and `remove` are the hands.

mod devices;
mod filter;
mod groups;
mod look;
mod remove;
mod serve;

use super::link::{Changes, Netlink};
use super::process::Dnsmasq;
use super::state::{NetworkState, PortState, RulesState, State, Tap};
use super::{LinuxConfig, netns};
use crate::DataplaneError;
use ipnet::IpNet;
use look::Reality;
use sha2::{Digest, Sha256};
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
    /// Ports that may let through less than before, or again what they did not: their connections are to be judged.
    changed: BTreeSet<PortId>,
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
        // An earlier worker may have loaded the rules and not have come to judge by them.
        let changed = stored.ports.keys().copied().collect();
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
            changed,
            handed_on: BTreeSet::new(),
            running: Arc::default(),
            reality: None,
            stir,
        })
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
            || !plug.port_security_enabled
            || !done
        {
            self.changed.insert(*id);
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

    /// Every port of which there may be something here.
    pub fn known(&self) -> Vec<PortId> {
        self.ports.keys().chain(self.leaving.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}
