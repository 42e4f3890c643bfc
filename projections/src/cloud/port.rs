//! Ports. Invariants: an address belongs to at most one live port of its subnet, a MAC to one of its network (5); a port that
//! was on a host stays that host's remnant until the host reports it unplugged.

use super::addresses::{Runs, number};
use super::counts::Counts;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use strata_events::port::{MacAddress, PortAttributes, PortEvent};
use strata_events::{HostName, NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId, Timestamp};

/// How far a host has got with a port that is bound to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plug {
    Wanted,
    Plugged,
    Failed(String),
}

/// Where a port shall exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub host: HostName,
    pub plug: Plug,
}

/// A port as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub id: PortId,
    pub project: ProjectId,
    pub network: NetworkId,
    pub mac: MacAddress,
    pub attributes: PortAttributes,
    pub binding: Option<Binding>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Neutron's `revision_number`: 1 at first, one more with each change.
    pub revision: u32,
}

impl Port {
    pub fn plugged(&self) -> bool {
        matches!(&self.binding, Some(Binding { plug: Plug::Plugged, .. }))
    }
    pub fn is_distributed(&self) -> bool {
        self.attributes.device_owner == DISTRIBUTED
    }
}

/// The live ports, and who owns which address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ports {
    all: Table<PortId, Port>,
    addresses: OrdMap<(SubnetId, IpAddr), PortId>,
    runs: Runs,
    macs: OrdMap<(NetworkId, MacAddress), PortId>,
    by_project: OrdSet<(ProjectId, PortId)>,
    by_network: OrdSet<(NetworkId, PortId)>,
    by_device: OrdSet<(String, PortId)>,
    by_host: OrdSet<(HostName, PortId)>,
    by_security_group: OrdSet<(SecurityGroupId, PortId)>,
    /// Ports of which something may be left on a host that shall have them no more.
    remnants: OrdSet<(HostName, PortId)>,
    remnants_of: OrdSet<(PortId, HostName)>,
    /// How many ports of a group shall exist on a host.
    group_hosts: OrdMap<(SecurityGroupId, HostName), u32>,
    counts: Counts,
}

/// The owner of the port from which a network's DHCP and metadata are served on every host (Neutron's name for it).
pub const DISTRIBUTED: &str = "network:distributed";

/// What a network's distributed port has as its device.
pub fn distributed_device(network: &NetworkId) -> String {
    format!("strata-{network}")
}

impl std::ops::Deref for Ports {
    type Target = Table<PortId, Port>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

const FIRST: PortId = PortId(uuid::Uuid::nil());

impl Ports {
    pub fn owner_of_address(&self, subnet: &SubnetId, ip: &IpAddr) -> Option<&PortId> {
        self.addresses.get(&(*subnet, *ip))
    }
    pub fn owner_of_mac(&self, network: &NetworkId, mac: &MacAddress) -> Option<&PortId> {
        self.macs.get(&(*network, *mac))
    }
    /// The lowest number (see [`super::addresses`]) from `from` on that no port has in this subnet. One look-up.
    pub fn first_free(&self, subnet: &SubnetId, from: u128) -> Option<u128> {
        self.runs.first_free(subnet, from)
    }
    /// The addresses taken in a subnet, ascending.
    pub fn addresses_in(&self, subnet: &SubnetId) -> impl Iterator<Item = (IpAddr, &PortId)> {
        let subnet = *subnet;
        self.addresses
            .range((subnet, IpAddr::from([0; 4]))..)
            .take_while(move |((s, _), _)| *s == subnet)
            .map(|((_, ip), port)| (*ip, port))
    }
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Port>> {
        let project = *project;
        self.by_project.range((project, FIRST)..).take_while(move |(p, _)| *p == project).filter_map(|(_, id)| self.all.get(id))
    }
    pub fn on_network(&self, network: &NetworkId) -> impl Iterator<Item = &Arc<Port>> {
        let network = *network;
        self.by_network.range((network, FIRST)..).take_while(move |(n, _)| *n == network).filter_map(|(_, id)| self.all.get(id))
    }
    pub fn of_device(&self, device: &str) -> impl Iterator<Item = &Arc<Port>> {
        let device = device.to_owned();
        self.by_device.range((device.clone(), FIRST)..).take_while(move |(d, _)| *d == device).filter_map(|(_, id)| self.all.get(id))
    }
    pub fn with_security_group(&self, group: &SecurityGroupId) -> impl Iterator<Item = &Arc<Port>> {
        let group = *group;
        self.by_security_group.range((group, FIRST)..).take_while(move |(g, _)| *g == group).filter_map(|(_, id)| self.all.get(id))
    }
    /// The port from which a network's DHCP and metadata are served.
    pub fn distributed(&self, network: &NetworkId) -> Option<&Arc<Port>> {
        self.of_device(&distributed_device(network)).find(|p| p.is_distributed())
    }
    /// The hosts on which ports of a group shall exist.
    pub fn hosts_of_group(&self, group: &SecurityGroupId) -> impl Iterator<Item = &HostName> {
        let group = *group;
        let first = (group, HostName(String::new()));
        self.group_hosts.range(first..).take_while(move |((g, _), _)| *g == group).map(|((_, host), _)| host)
    }
    /// Whether a port of the group shall exist on the host.
    pub fn group_is_on(&self, group: &SecurityGroupId, host: &HostName) -> bool {
        self.group_hosts.contains_key(&(*group, host.clone()))
    }
    /// The ports that shall exist on a host.
    pub fn on_host(&self, host: &HostName) -> impl Iterator<Item = &Arc<Port>> {
        let host = host.clone();
        self.by_host.range((host.clone(), FIRST)..).take_while(move |(h, _)| *h == host).filter_map(|(_, id)| self.all.get(id))
    }
    /// The ports that shall not exist on a host and of which something may be left there.
    pub fn remnants_on(&self, host: &HostName) -> impl Iterator<Item = PortId> {
        let host = host.clone();
        self.remnants.range((host.clone(), FIRST)..).take_while(move |(h, _)| *h == host).map(|(_, id)| *id)
    }
    pub fn is_remnant(&self, host: &HostName, id: &PortId) -> bool {
        self.remnants.contains(&(host.clone(), *id))
    }
    /// How many a project has; what a network has of itself is not counted.
    pub fn count(&self, project: &ProjectId) -> u32 {
        self.counts.of(project)
    }

    fn leave(&mut self, host: &HostName, id: &PortId) {
        self.remnants.insert((host.clone(), *id));
        self.remnants_of.insert((*id, host.clone()));
    }
    fn gone(&mut self, host: &HostName, id: &PortId) {
        self.remnants.remove(&(host.clone(), *id));
        self.remnants_of.remove(&(*id, host.clone()));
    }
    /// Whether something of it may be left on any host.
    fn leaves_remnants(&self, id: &PortId) -> bool {
        self.remnants_of.range((*id, HostName(String::new()))..).next().is_some_and(|(p, _)| p == id)
    }
    fn index(&mut self, port: &Port) -> Result<(), CannotApply> {
        for fixed in &port.attributes.fixed_ips {
            if self.addresses.insert((fixed.subnet, fixed.ip), port.id).is_some() {
                return Err(CannotApply::because(format!("address {} of subnet {} has two owners", fixed.ip, fixed.subnet)));
            }
            self.runs.take(fixed.subnet, number(fixed.ip));
        }
        if self.macs.insert((port.network, port.mac), port.id).is_some() {
            return Err(CannotApply::because(format!("MAC address {} has two owners on network {}", port.mac, port.network)));
        }
        if !port.attributes.device_id.is_empty() {
            self.by_device.insert((port.attributes.device_id.clone(), port.id));
        }
        for group in &port.attributes.security_groups {
            self.by_security_group.insert((*group, port.id));
        }
        self.count_groups(port, port.binding.as_ref().map(|b| &b.host), true);
        Ok(())
    }
    fn unindex(&mut self, port: &Port) {
        for fixed in &port.attributes.fixed_ips {
            self.addresses.remove(&(fixed.subnet, fixed.ip));
            self.runs.free(fixed.subnet, number(fixed.ip));
        }
        self.macs.remove(&(port.network, port.mac));
        self.by_device.remove(&(port.attributes.device_id.clone(), port.id));
        for group in &port.attributes.security_groups {
            self.by_security_group.remove(&(*group, port.id));
        }
        self.count_groups(port, port.binding.as_ref().map(|b| &b.host), false);
    }
    fn count_groups(&mut self, port: &Port, host: Option<&HostName>, add: bool) {
        let Some(host) = host else { return };
        for group in &port.attributes.security_groups {
            let key = (*group, host.clone());
            let count = self.group_hosts.get(&key).copied().unwrap_or(0);
            match if add { count + 1 } else { count.saturating_sub(1) } {
                0 => self.group_hosts.remove(&key),
                count => self.group_hosts.insert(key, count),
            };
        }
    }
    fn edit(&mut self, id: &PortId, stamp: &Stamp<'_>, f: impl FnOnce(&mut Port)) -> Result<(), CannotApply> {
        let old = self.all.need(id)?.clone();
        self.unindex(&old);
        self.all.change(id, |port| {
            f(port);
            port.updated_at = stamp.at;
            port.revision += 1;
        })?;
        let new = self.all.need(id)?.clone();
        self.index(&new)
    }
    /// Binding changes often and touches one index.
    fn bind(&mut self, id: &PortId, stamp: &Stamp<'_>, binding: Option<Binding>) -> Result<(), CannotApply> {
        let host = binding.as_ref().map(|b| b.host.clone());
        let before = self.all.change(id, |port| {
            port.updated_at = stamp.at;
            port.revision += 1;
            std::mem::replace(&mut port.binding, binding).map(|b| b.host)
        })?;
        if before != host {
            let port = self.all.need(id)?.clone();
            self.count_groups(&port, before.as_ref(), false);
            self.count_groups(&port, host.as_ref(), true);
            before.and_then(|h| self.by_host.remove(&(h, *id)));
            host.and_then(|h| self.by_host.insert((h, *id)));
        }
        Ok(())
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &PortEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let ports = &mut cloud.ports;
    match event {
        PortEvent::PortCreated { id, project, network, mac, attributes } => {
            let port = Port {
                id: *id,
                project: *project,
                network: *network,
                mac: *mac,
                attributes: attributes.clone(),
                binding: None,
                created_at: stamp.at,
                updated_at: stamp.at,
                revision: 1,
            };
            ports.index(&port)?;
            ports.by_project.insert((*project, *id));
            ports.by_network.insert((*network, *id));
            if !port.is_distributed() {
                ports.counts.add(project, 1);
            }
            ports.all.add(*id, port)
        }
        PortEvent::PortUpdated { id, attributes } => ports.edit(id, stamp, |p| p.attributes = attributes.clone()),
        PortEvent::PortMacChanged { id, mac } => ports.edit(id, stamp, |p| p.mac = *mac),
        PortEvent::PortBound { id, host } => {
            let before = ports.all.need(id)?.binding.as_ref().map(|b| b.host.clone());
            if let Some(before) = before.filter(|b| b != host) {
                ports.leave(&before, id);
            }
            ports.gone(host, id);
            ports.bind(id, stamp, Some(Binding { host: host.clone(), plug: Plug::Wanted }))
        }
        PortEvent::PortPlugged { id, host } => ports.bind(id, stamp, Some(Binding { host: host.clone(), plug: Plug::Plugged })),
        PortEvent::PortPlugFailed { id, host, reason } => {
            ports.bind(id, stamp, Some(Binding { host: host.clone(), plug: Plug::Failed(reason.clone()) }))
        }
        PortEvent::PortUnbound { id, host } => {
            ports.leave(host, id);
            ports.bind(id, stamp, None)
        }
        PortEvent::PortUnplugged { id, host } => {
            ports.gone(host, id);
            if !ports.all.contains(id) && !ports.leaves_remnants(id) {
                cloud.end_of_stream(PortEvent::KIND, id.0);
            }
            Ok(())
        }
        PortEvent::PortDeleted { id } => {
            let port = ports.all.remove(id)?;
            ports.unindex(&port);
            ports.by_project.remove(&(port.project, *id));
            ports.by_network.remove(&(port.network, *id));
            if !port.is_distributed() {
                ports.counts.take(&port.project, 1);
            }
            if let Some(binding) = &port.binding {
                ports.by_host.remove(&(binding.host.clone(), *id));
                ports.leave(&binding.host, id);
            }
            if !ports.leaves_remnants(id) {
                cloud.end_of_stream(PortEvent::KIND, id.0);
            }
            Ok(())
        }
    }
}
