//! What a host should make of a port.

use super::{Item, Key};
use crate::Cloud;
use crate::cloud::port::Port;
use serde::{Deserialize, Serialize};
use strata_events::network::Segment;
use strata_events::port::{FixedIp, MacAddress, PortEvent};
use strata_events::security_group::Rule;
use strata_events::{Event, HostName, NetworkId, PortId, ProjectId};

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
    pub segment: Segment,
    /// bytes
    pub mtu: u16,
    pub mac: MacAddress,
    pub fixed_ips: Vec<FixedIp>,
    pub admin_state_up: bool,
    pub port_security_enabled: bool,
    pub device_id: String,
    pub device_owner: String,
    pub rules: Vec<Rule>,
}

pub(super) fn plan(cloud: &Cloud, host: &HostName, p: &Port) -> (Key, Item) {
    let plug = cloud.networks.get(&p.network).map(|network| PlannedPlug {
        project: p.project,
        network: p.network,
        segment: network.segment.clone(),
        mtu: network.attributes.mtu,
        mac: p.mac,
        fixed_ips: p.attributes.fixed_ips.clone(),
        admin_state_up: p.attributes.admin_state_up,
        port_security_enabled: p.attributes.port_security_enabled,
        device_id: p.attributes.device_id.clone(),
        device_owner: p.attributes.device_owner.clone(),
        rules: p
            .attributes
            .security_groups
            .iter()
            .filter_map(|id| cloud.security_groups.get(id))
            .flat_map(|g| g.rules.iter().cloned())
            // The API keeps a prefix as it was written; data planes want it without host bits.
            .map(|rule| Rule { remote_ip_prefix: rule.remote_ip_prefix.map(|p| p.trunc()), ..rule })
            .collect(),
    });
    (Key::new(host, KIND, p.id), Item::Port(Box::new(PortPlan { id: p.id, plug })))
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
    keys
}

/// The keys of a port and of the instance that waits for it.
fn of(cloud: &Cloud, id: &PortId) -> Vec<Key> {
    let Some(port) = cloud.ports.get(id) else { return vec![] };
    let own = port.binding.as_ref().map(|b| Key::new(&b.host, KIND, *id));
    let device = port.attributes.device_id.parse().ok();
    own.into_iter().chain(device.into_iter().flat_map(|i| super::instance::keys(cloud, &i))).collect()
}

/// The keys of the ports whose plan holds something of a network, a subnet or a security group.
pub(super) fn touched_by_neighbour(after: &Cloud, event: &Event) -> Vec<Key> {
    let stream = event.stream().id;
    match event {
        Event::Network(_) => match stream.parse::<NetworkId>() {
            Ok(id) => after.ports.on_network(&id).flat_map(|p| of(after, &p.id)).collect(),
            Err(_) => vec![],
        },
        Event::SecurityGroup(_) => match stream.parse() {
            Ok(id) => after.ports.with_security_group(&id).flat_map(|p| of(after, &p.id)).collect(),
            Err(_) => vec![],
        },
        _ => vec![],
    }
}
