//! The host as it is and as it shall be, and the hands that bring the one to the other. One thing is changed at a time; what many
//! ports share (the packet filter, a network's dnsmasq) is brought up to date once for all that wait ([`Host::flush`]).

use super::link::{Changes, Kind, Links, Netlink};
use super::process::{self, Dnsmasq};
use super::state::{NetworkState, PortState, RulesState, State};
use super::wanted::{self, Inside, Setting, Step};
use super::{LinuxConfig, conntrack, dhcp, names, netns, rules, tap};
use crate::{DataplaneError, Found};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use strata_events::{NetworkId, PortId, SecurityGroupId};
use strata_projections::plan::port::PlannedPlug;

type Outcome<T> = Result<T, DataplaneError>;

/// A step that leaves another to do is not the last; more than these means that something undoes them.
const ROUNDS: usize = 12;

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
    reality: Option<Reality>,
    /// Told when something inside a namespace changes.
    stir: std::sync::Arc<super::watch::Stir>,
}

fn digest(text: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    tokio::task::spawn_blocking(what).await.map_err(|e| DataplaneError::Failed(format!("a step broke off: {e}")))?
}

impl Host {
    pub fn open(config: LinuxConfig, stir: std::sync::Arc<super::watch::Stir>) -> Outcome<Self> {
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
            networks,
            rules: stored.rules,
            listed: None,
            wish: 0,
            flushed: 0,
            dirty: BTreeSet::new(),
            unserved: BTreeMap::new(),
            stricter: BTreeSet::new(),
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

    /// Whether ports, packet filter and dnsmasq are just being brought to what was wished.
    pub fn is_busy(&self) -> bool {
        self.flushed < self.wish
    }

    /// What is known of a network: what the port says that knows most.
    fn view(&self, network: &NetworkId) -> Option<&PlannedPlug> {
        let of_it = self.ports.values().map(|p| &p.plug).filter(|p| p.network == *network);
        of_it.max_by_key(|p| p.network_revision)
    }

    fn used(&self) -> BTreeSet<NetworkId> {
        self.ports.values().map(|p| p.plug.network).collect()
    }

    fn ruleset(&self) -> String {
        let zones = self.networks.iter().map(|(id, n)| (*id, n.state.zone)).collect();
        let ports = self.ports.iter().map(|(id, p)| rules::Port { id, number: p.number, plug: &p.plug }).collect();
        rules::ruleset(&rules::Input { tag: &self.config.tag, ports, zones: &zones, groups: &self.groups })
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
        self.reality = Some(Reality { links, inside });
        Ok(())
    }

    async fn listing(&mut self) -> Outcome<String> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let table = rules::table(&self.config.tag);
        let listed = digest(&blocking(move || process::list_tables(&table)).await?);
        Ok(self.listed.insert(listed).clone())
    }

    /// Whether the packet filter holds what the ports want.
    fn is_filtered(&self) -> bool {
        self.listed.as_ref() == Some(&self.rules.listing) && self.rules.text == digest(self.ruleset().as_bytes())
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

    /// Whether dnsmasq runs where it shall, with what it shall know.
    fn is_served(&self, id: &NetworkId) -> bool {
        let (Some(view), Some(network)) = (self.view(id), self.networks.get(id)) else { return false };
        if !wanted::is_served(view) {
            return network.dnsmasq.is_none();
        }
        let Some(inside) = self.reality.as_ref().and_then(|r| r.inside.get(id)) else { return false };
        let (files, conf) = self.dhcp(id, view, inside);
        let current = network.dnsmasq.as_ref().is_some_and(|d| d.conf == conf);
        current && network.state.read == digest_of(&files)
    }

    /// What dnsmasq is told. The place where it listens is part of it: one that was started in a namespace or on a device that is
    /// there no more still runs, and serves nobody.
    fn dhcp(&self, id: &NetworkId, view: &PlannedPlug, inside: &Inside) -> (dhcp::Files, PathBuf) {
        let directory = self.state.network(id);
        let ports = self.ports.iter().map(|(id, p)| (id, &p.plug)).filter(|(_, p)| p.network == *id);
        let mut files = dhcp::files(id, view, ports, &directory);
        let device = inside.links.get(&names::namespace_end(id)).map_or(0, |link| link.index);
        let (of, namespace) = inside.namespace.unwrap_or_default();
        files.conf.push_str(&format!("# for namespace {of}:{namespace}, device {device}\n"));
        let conf = directory.join(format!("dnsmasq-{}.conf", &digest(files.conf.as_bytes())[..12]));
        (files, conf)
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
        port.done && devices() && self.is_filtered() && self.is_served(network)
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
        if self.ports.get(id).is_none_or(|p| p.plug != *plug) {
            let number = self.ports.get(id).map_or_else(|| self.free_number(), |p| Some(p.number));
            let number = number.ok_or_else(|| DataplaneError::Failed("this host has 65535 ports, and room for no more".into()))?;
            if self.ports.get(id).is_some_and(|p| p.plug.rules != plug.rules || !p.plug.port_security_enabled) {
                self.stricter.insert(*id);
            }
            let port = PortState { plug: plug.clone(), number, done: false };
            self.state.put_port(id, &port)?;
            self.ports.insert(*id, port);
        }
        self.reality = None;
        Ok(self.next_wish(plug.network))
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

    /// Makes a port's devices and its network's, until no step is left.
    pub async fn make(&mut self, id: &PortId, open: bool) -> Outcome<()> {
        let Some(plug) = self.ports.get(id).map(|p| p.plug.clone()) else { return Ok(()) };
        let network = plug.network;
        for _ in 0..ROUNDS {
            let links = self.root.links().await?;
            let inside = self.look_inside(&network).await?;
            let Some(view) = self.view(&network) else { return Ok(()) };
            let mut steps = wanted::network(&network, view, &links, &inside)?;
            steps.extend(wanted::port(id, &plug, &links, open)?);
            if let Some(reality) = &mut self.reality {
                reality.links = links;
                reality.inside.insert(network, inside);
            }
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                tracing::debug!(port = %id, ?step, "changes");
                self.step(&network, step).await?;
            }
        }
        Err(DataplaneError::Failed(format!("port {id}: what is made here is undone by something else on this host")))
    }

    async fn step(&mut self, network: &NetworkId, step: Step) -> Outcome<()> {
        let path = names::namespace(&self.config.netns_dir, network);
        let about = |e: std::io::Error, what: &str| DataplaneError::Failed(format!("{what}: {e}"));
        match step {
            Step::AddBridge { name, mac, mtu } => self.root.add_bridge(&name, mac, mtu).await,
            Step::AddTap { name } => {
                self.changes.one();
                tap::create(&name).map_err(|e| about(e, &format!("tap {name} can't be made")))?;
                self.root.without_ipv6(&name)
            }
            Step::AddNamespace => {
                self.changes.one();
                netns::create(&path).map_err(|e| about(e, &format!("the namespace {} can't be made", path.display())))
            }
            Step::AddVeth { name, peer } => self.root.add_veth(&name, &peer).await,
            Step::Delete { name, index } => self.root.delete(&name, index).await,
            Step::MoveInside { name, index } => {
                let namespace = std::fs::File::open(&path).map_err(|e| about(e, "the namespace can't be opened"))?;
                self.root.move_to(&name, index, &namespace).await
            }
            Step::Set { inside, name, index, what } => {
                let within = self.networks.get(network).and_then(|n| n.inside.as_ref()).map(|(_, netlink, _)| netlink);
                let netlink = if inside { within.unwrap_or(&self.root) } else { &self.root };
                match what {
                    Setting::Mtu(mtu) => netlink.set_mtu(&name, index, mtu).await,
                    Setting::Mac(mac) => netlink.set_mac(&name, index, mac).await,
                    Setting::Up(up) => netlink.set_up(&name, index, up).await,
                    Setting::Master(master) => netlink.set_master(&name, index, Some(master)).await,
                    Setting::Address(net) => netlink.add_address(&name, index, net).await,
                    Setting::NoAddress(net) => netlink.remove_address(&name, index, net).await,
                }
            }
        }
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

    async fn filter(&mut self) -> Outcome<()> {
        let text = self.ruleset();
        let wanted = digest(text.as_bytes());
        let listed = self.listing().await?;
        if wanted == self.rules.text && self.rules.listing == listed {
            return self.judge().await;
        }
        let (changes, filtered) = (self.changes.clone(), self.ports.values().any(|p| p.plug.port_security_enabled));
        self.listed = None;
        let load = move || {
            if filtered {
                process::need_bridge_filter()?;
            }
            process::load_rules(&text, &changes)
        };
        blocking(load).await?;
        let listing = self.listing().await?;
        if listing == digest(b"") && !self.ports.is_empty() {
            return Err(DataplaneError::Unavailable("the packet filter's rules were loaded and are not there".into()));
        }
        self.rules = RulesState { text: wanted, listing };
        self.state.put_rules(&self.rules)?;
        self.judge().await
    }

    /// Ends the connections that the present rules would not let begin.
    async fn judge(&mut self) -> Outcome<()> {
        let ports = self.stricter.iter().filter_map(|id| {
            let plug = &self.ports.get(id)?.plug;
            let zone = self.networks.get(&plug.network)?.state.zone;
            Some(conntrack::Judged { plug: plug.clone(), zone })
        });
        let ports: Vec<conntrack::Judged> = ports.collect();
        if !ports.is_empty() {
            let (groups, changes) = (self.groups.clone(), self.changes.clone());
            let failed = |e| DataplaneError::Failed(format!("connections that are allowed no more can't be ended: {e}"));
            blocking(move || conntrack::judge(&ports, &groups, &changes).map_err(failed)).await?;
        }
        self.stricter.clear();
        Ok(())
    }

    /// Brings a network's dnsmasq to what the ports here need.
    async fn serve(&mut self, id: &NetworkId) -> Outcome<()> {
        let inside = self.look_inside(id).await?;
        let Some(view) = self.view(id) else { return Ok(()) };
        let directory = self.state.network(id);
        if !wanted::is_served(view) {
            return self.stop(id).await;
        }
        let (files, conf) = self.dhcp(id, view, &inside);
        let read = digest_of(&files);
        let Some(network) = self.networks.get_mut(id) else { return Ok(()) };
        self.state.write(&conf, files.conf.as_bytes())?;
        self.state.write(&directory.join("hosts"), files.hosts.as_bytes())?;
        self.state.write(&directory.join("options"), files.options.as_bytes())?;
        let running = process::running(&directory);
        // A lease that it remembers would keep an address from its next owner.
        let moved = files.leases.iter().any(|(ip, mac)| network.state.leases.get(ip).is_some_and(|held| held != mac));
        let mut state = network.state.clone();
        match &running[..] {
            [one] if one.conf == conf && !moved => {
                if state.read != read {
                    process::reload(one, &self.changes);
                }
                network.dnsmasq = Some(one.clone());
                state.leases.extend(&files.leases);
            }
            _ => {
                let namespace = names::namespace(&self.config.netns_dir, id);
                let (changes, at, conf) = (self.changes.clone(), directory.clone(), conf.clone());
                let started = blocking(move || {
                    process::stop(&at, &changes)?;
                    process::start(&namespace, &conf, &changes)?;
                    Ok(process::running(&at))
                });
                network.dnsmasq = started.await?.into_iter().next();
                state.leases = files.leases;
            }
        }
        state.read = read;
        if state != network.state {
            network.state = state;
            self.state.put_network(id, &network.state)?;
        }
        self.without_old(id, Some(&conf))
    }

    /// Configurations from before.
    fn without_old(&self, id: &NetworkId, but: Option<&PathBuf>) -> Outcome<()> {
        let entries = std::fs::read_dir(self.state.network(id)).into_iter().flatten().flatten().map(|e| e.path());
        let old = |p: &PathBuf| p.extension().is_some_and(|e| e == "conf") && Some(p) != but;
        entries.filter(old).try_for_each(|p| self.state.remove(&p))
    }

    /// Ends a network's dnsmasq and removes its namespace.
    async fn stop(&mut self, id: &NetworkId) -> Outcome<()> {
        let directory = self.state.network(id);
        let changes = self.changes.clone();
        blocking(move || process::stop(&directory, &changes)).await?;
        if let Some(network) = self.networks.get_mut(id) {
            network.dnsmasq = None;
            if let Some((_, _, watch)) = network.inside.take() {
                watch.abort();
            }
            if network.state.read != String::new() {
                network.state = NetworkState { zone: network.state.zone, leases: BTreeMap::new(), read: String::new() };
                self.state.put_network(id, &network.state)?;
            }
        }
        self.without_old(id, None)?;
        let near = names::host_end(id);
        if let Some(link) = self.root.links().await?.get(&near).filter(|l| l.kind == Kind::Veth) {
            self.root.delete(&near, link.index).await?;
        }
        let path = names::namespace(&self.config.netns_dir, id);
        if path.exists() {
            self.changes.one();
            netns::remove(&path).map_err(|e| DataplaneError::Failed(format!("{} can't be removed: {e}", path.display())))?;
        }
        self.reality = None;
        Ok(())
    }

    /// It is all there now.
    pub fn done(&mut self, id: &PortId) -> Outcome<()> {
        if let Some(port) = self.ports.get_mut(id)
            && !port.done
        {
            port.done = true;
            self.state.put_port(id, port)?;
        }
        Ok(())
    }

    /// Takes a port's tap away, and notes that all of it shall go.
    pub async fn leave(&mut self, id: &PortId) -> Outcome<u64> {
        let name = names::tap(id);
        let network = match self.ports.remove(id) {
            Some(port) => Some(port.plug.network),
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
        self.without_unused().await?;
        self.state.forget_port(id)?;
        self.leaving.remove(id);
        Ok(())
    }

    /// Networks on which no port is plugged any more.
    pub async fn without_unused(&mut self) -> Outcome<()> {
        let used = self.used();
        let unused: Vec<NetworkId> = self.networks.keys().filter(|id| !used.contains(id)).copied().collect();
        for id in unused {
            self.stop(&id).await?;
            let bridge = names::bridge(&id);
            if let Some(link) = self.root.links().await?.get(&bridge).filter(|l| l.kind == Kind::Bridge) {
                self.root.delete(&bridge, link.index).await?;
            }
            self.state.forget_network(&id)?;
            self.networks.remove(&id);
            self.unserved.remove(&id);
        }
        Ok(())
    }

    /// Notes who is in a group. Returns the wish to flush, if any port's rules name it.
    pub fn members(&mut self, id: &SecurityGroupId, members: &[IpNet]) -> Outcome<Option<u64>> {
        use strata_projections::plan::port::Remote;
        if self.groups.get(id).is_some_and(|m| m == members) {
            return Ok(None);
        }
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
        Ok(Some(self.wish))
    }

    /// Groups that no port's rules name.
    pub fn without_unnamed(&mut self) -> Outcome<()> {
        use strata_projections::plan::port::Remote;
        let rules = self.ports.values().flat_map(|p| &p.plug.rules);
        let named: BTreeSet<SecurityGroupId> =
            rules.filter_map(|r| if let Remote::Group(id) = r.remote { Some(id) } else { None }).collect();
        let unnamed: Vec<SecurityGroupId> = self.groups.keys().filter(|id| !named.contains(id)).copied().collect();
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

    /// Takes the rules away, also those that nothing is known of any more. Only when no port is left.
    pub async fn without_rules(&mut self) -> Outcome<()> {
        self.listed = None;
        if self.ports.is_empty() && self.listing().await? != digest(b"") {
            self.rules = RulesState::default();
            self.filter().await?;
        }
        Ok(())
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

fn digest_of(files: &dhcp::Files) -> String {
    digest(format!("{}\0{}", files.hosts, files.options).as_bytes())
}
