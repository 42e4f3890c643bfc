//! What a host should make of a port.

use super::subnet::{self, PlannedDhcp, PlannedSubnet};
use super::{Item, Key};
use crate::Cloud;
use crate::cloud::port::Port;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use strata_events::network::Segment;
use strata_events::port::{DhcpOption, FixedIp, MacAddress, PortEvent};
use strata_events::security_group::{Direction, Ethertype, Rule};
use strata_events::{Event, HostName, InstanceId, NetworkId, PortId, ProjectId, SecurityGroupId};

pub const KIND: &str = "port";

/// The desired state of a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortPlan {
    pub id: PortId,
    /// None: nothing of it shall exist here.
    pub plug: Option<PlannedPlug>,
}

/// What to plug.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedPlug {
    pub project: ProjectId,
    pub network: NetworkId,
    /// Grows with each change of the network and its subnets: of two plugs, the one that knows more of it.
    pub network_revision: u32,
    pub segment: Segment,
    /// bytes
    pub mtu: u16,
    pub dns_domain: String,
    /// All subnets of the network.
    pub subnets: Vec<PlannedSubnet>,
    /// From where DHCP and metadata are served; none: they are not.
    pub dhcp: Option<PlannedDhcp>,
    pub mac: MacAddress,
    pub fixed_ips: Vec<FixedIp>,
    /// What it may send from besides its own.
    pub address_pairs: Vec<PlannedPair>,
    /// What DHCP calls the guest.
    pub hostname: Option<String>,
    pub extra_dhcp_opts: Vec<DhcpOption>,
    pub admin_state_up: bool,
    pub port_security_enabled: bool,
    /// The instance that has it, or nothing: not what the port's owner wrote.
    pub device_id: String,
    pub device_owner: String,
    /// Whether its security groups let answers through by themselves.
    pub stateful: bool,
    pub rules: Vec<PlannedRule>,
}

/// Addresses that a port may send from, with this MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedPair {
    pub mac: MacAddress,
    pub net: IpNet,
}

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRule {
    pub direction: Direction,
    pub ethertype: Ethertype,
    /// `tcp`, `udp`, `icmp`, … or a number; none is any.
    pub protocol: Option<String>,
    /// First port, or the ICMP type.
    pub port_range_min: Option<u16>,
    /// Last port, or the ICMP code.
    pub port_range_max: Option<u16>,
    pub remote: Remote,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    Any,
    /// Without host bits.
    Prefix(IpNet),
    /// The members of this group; the host has them as its [`super::group::GroupPlan`].
    Group(SecurityGroupId),
}

impl From<&Rule> for PlannedRule {
    fn from(r: &Rule) -> Self {
        Self {
            direction: r.direction,
            ethertype: r.ethertype,
            protocol: r.protocol.clone(),
            port_range_min: r.port_range_min,
            port_range_max: r.port_range_max,
            remote: match (r.remote_group, r.remote_ip_prefix) {
                (Some(group), _) => Remote::Group(group),
                // The API keeps a prefix as it was written; data planes want it without host bits.
                (None, Some(prefix)) => Remote::Prefix(prefix.trunc()),
                (None, None) => Remote::Any,
            },
        }
    }
}

/// An address or a CIDR as it was asked for.
pub(super) fn parsed(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().map(|n| n.trunc()).or_else(one)
}

pub(super) fn plan(cloud: &Cloud, host: &HostName, p: &Port) -> (Key, Item) {
    let a = &p.attributes;
    let groups = || a.security_groups.iter().filter_map(|id| cloud.security_groups.get(id));
    let plug = cloud.networks.get(&p.network).map(|network| PlannedPlug {
        project: p.project,
        network: p.network,
        network_revision: network.revision,
        segment: network.segment.clone(),
        mtu: network.attributes.mtu,
        dns_domain: network.attributes.dns_domain.clone(),
        subnets: subnet::of_network(cloud, &p.network),
        dhcp: subnet::dhcp(cloud, &p.network),
        mac: p.mac,
        fixed_ips: a.fixed_ips.clone(),
        address_pairs: a
            .allowed_address_pairs
            .iter()
            .filter_map(|pair| Some(PlannedPair { mac: pair.mac_address, net: parsed(&pair.ip_address)? }))
            .collect(),
        hostname: hostname(cloud, p),
        extra_dhcp_opts: a.extra_dhcp_opts.clone(),
        admin_state_up: a.admin_state_up,
        port_security_enabled: a.port_security_enabled,
        device_id: cloud.instances.holding(&p.id).map(|i| i.id.to_string()).unwrap_or_default(),
        device_owner: a.device_owner.clone(),
        stateful: groups().all(|g| g.stateful),
        rules: groups().flat_map(|g| g.rules.iter().map(PlannedRule::from)).collect(),
    });
    (Key::new(host, KIND, p.id), Item::Port(Box::new(PortPlan { id: p.id, plug })))
}

/// A port's own name in DNS, or that of the instance that has it.
fn hostname(cloud: &Cloud, p: &Port) -> Option<String> {
    let own = Some(&p.attributes.dns_name).filter(|n| !n.is_empty());
    own.cloned().or_else(|| cloud.instances.holding(&p.id).map(|i| i.spec.hostname.clone()))
}

/// The plan of a port that shall be gone.
pub(super) fn absent(host: &HostName, id: PortId) -> (Key, Item) {
    (Key::new(host, KIND, id), Item::Port(Box::new(PortPlan { id, plug: None })))
}

pub(super) fn touched(before: &Cloud, after: &Cloud, event: &PortEvent) -> Vec<Key> {
    let Ok(id) = event.stream_id().parse::<PortId>() else { return vec![] };
    let mut keys: Vec<Key> = [before, after].into_iter().flat_map(|cloud| of(cloud, &id)).collect();
    if let PortEvent::PortUnplugged { host, .. } | PortEvent::PortUnbound { host, .. } = event {
        keys.push(Key::new(host, KIND, id));
    }
    // The network's other ports hold the addresses of its distributed one.
    let mut known = [after, before].into_iter().filter_map(|cloud| cloud.ports.get(&id));
    if let Some(port) = known.find(|p| p.is_distributed()) {
        keys.extend(on_network(after, &port.network));
    }
    keys.extend(super::group::touched_by_port(before, after, event, &id));
    keys
}

/// The keys of a port and of the instance that has it.
fn of(cloud: &Cloud, id: &PortId) -> Vec<Key> {
    let Some(port) = cloud.ports.get(id) else { return vec![] };
    let instance = cloud.instances.holding(id).map(|i| i.id);
    own(port).into_iter().chain(instance.into_iter().flat_map(|i| super::instance::keys(cloud, &i))).collect()
}

/// The key of a port on its host.
fn own(port: &Port) -> Option<Key> {
    port.binding.as_ref().map(|b| Key::new(&b.host, KIND, port.id))
}

/// The keys of everything that is plugged into a network.
pub(super) fn on_network(cloud: &Cloud, id: &NetworkId) -> Vec<Key> {
    cloud.ports.on_network(id).flat_map(|p| of(cloud, &p.id)).collect()
}

/// The keys of an instance's ports.
pub(super) fn of_instance(cloud: &Cloud, id: &InstanceId) -> Vec<Key> {
    let ports = cloud.instances.get(id).into_iter().flat_map(|i| &i.spec.ports);
    ports.filter_map(|id| own(cloud.ports.get(id)?)).collect()
}

/// The keys of the ports whose plan holds something of a network, a subnet or a security group.
pub(super) fn touched_by_neighbour(before: &Cloud, after: &Cloud, event: &Event) -> Vec<Key> {
    let stream = event.stream().id;
    match event {
        Event::Network(_) => stream.parse().map(|id| on_network(after, &id)).unwrap_or_default(),
        Event::Subnet(_) => {
            let Ok(id) = stream.parse() else { return vec![] };
            let mut known = [after, before].into_iter().filter_map(|cloud| cloud.subnets.get(&id));
            known.next().map(|s| on_network(after, &s.network)).unwrap_or_default()
        }
        Event::SecurityGroup(_) => {
            let Ok(id) = stream.parse() else { return vec![] };
            let ports = after.ports.with_security_group(&id).flat_map(|p| of(after, &p.id));
            ports.chain(super::group::touched_by_group(before, after, &id)).collect()
        }
        _ => vec![],
    }
}
