//! What may be asked of a port. Invariants: an address and a MAC have one live owner (see `address`); a port without port
//! security has neither groups nor address pairs; whatever a port's instance or host knew of it is told when it goes.

use super::address::{Allocation, Taken, WantedIp};
use super::distributed;
use super::network::{Scope, same_revision, within_quota};
use super::security_group::{self, DefaultGroupIds};
use super::tags::{self, TagChange};
use crate::{Class, Command, Context, Decision, Refusal, events};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use strata_events::instance::InstanceEvent;
use strata_events::port::{AddressPair, DhcpOption, MacAddress, PortAttributes, PortEvent};
use strata_events::{Event, HostName, InstanceId, NetworkId, PortId, ProjectId, SecurityGroupId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::port::{DISTRIBUTED, Port};

/// Neutron's max_allowed_address_pair.
const MOST_PAIRS: usize = 10;

pub fn not_found(id: &PortId) -> Refusal {
    Refusal::not_found("Port", id).with_kind("PortNotFound")
}

/// The MAC that a port shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedMac {
    This(MacAddress),
    /// This one, or if it is taken the next that is free.
    From(MacAddress),
}

/// An address pair as it was asked for; without a MAC it is the port's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPair {
    pub ip_address: String,
    pub mac_address: Option<MacAddress>,
}

/// A port that shall come to be.
#[derive(Debug, Clone)]
pub struct NewPort {
    pub id: PortId,
    pub project: ProjectId,
    /// Whose networks and groups may be named.
    pub scope: Scope,
    pub network: NetworkId,
    pub mac: WantedMac,
    /// None: one address of each family. An empty list: none.
    pub fixed_ips: Option<Vec<WantedIp>>,
    /// None: the project's default group.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// None: as the network has it.
    pub port_security_enabled: Option<bool>,
    pub allowed_address_pairs: Vec<WantedPair>,
    pub extra_dhcp_opts: Vec<DhcpOption>,
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    pub device_id: String,
    pub device_owner: String,
    pub vnic_type: String,
    pub binding_profile: Map<String, Value>,
    pub binding_host: Option<HostName>,
    pub tags: Vec<String>,
    pub default_group: DefaultGroupIds,
}

impl NewPort {
    /// A port with nothing special about it.
    pub fn plain(
        id: PortId,
        project: ProjectId,
        scope: Scope,
        network: NetworkId,
        mac: MacAddress,
        default_group: DefaultGroupIds,
    ) -> Self {
        Self {
            id,
            project,
            scope,
            network,
            mac: WantedMac::From(mac),
            fixed_ips: None,
            security_groups: None,
            port_security_enabled: None,
            allowed_address_pairs: vec![],
            extra_dhcp_opts: vec![],
            name: String::new(),
            description: String::new(),
            admin_state_up: true,
            device_id: String::new(),
            device_owner: String::new(),
            vnic_type: "normal".into(),
            binding_profile: Map::new(),
            binding_host: None,
            tags: vec![],
            default_group,
        }
    }
}

/// Makes a port.
#[derive(Debug, Clone)]
pub struct CreatePort(pub NewPort);

impl Command for CreatePort {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        plan_port(cloud, &self.0, ctx.now, &mut Taken::default())
    }
}

/// The events that make a port: `PortCreated`, before it the project's default group where it has none yet, after it
/// `PortBound` where a host was named. Several ports of one decision share `taken`.
pub fn plan_port(cloud: &Cloud, ask: &NewPort, now: Timestamp, taken: &mut Taken) -> Result<Vec<Event>, Refusal> {
    let network = ask.scope.network(cloud, &ask.network)?;
    distributed::not_by_hand(&ask.device_owner)?;
    let planned = taken.ports.entry(ask.project).or_insert(0);
    *planned += 1;
    within_quota(cloud, &ask.project, "port", cloud.ports.count(&ask.project), *planned)?;
    let mac = free_mac(cloud, &ask.network, ask.mac, taken)?;
    let port_security_enabled =
        ask.port_security_enabled.unwrap_or(network.attributes.port_security_enabled && !ask.device_owner.starts_with("network:"));
    let mut events = vec![];
    let security_groups = match &ask.security_groups {
        Some(groups) => known_groups(cloud, &ask.scope, &ask.project, groups)?,
        None if port_security_enabled && !ask.device_owner.starts_with("network:") => {
            vec![default_group(cloud, ask, now, taken, &mut events)]
        }
        None => vec![],
    };
    let allowed_address_pairs = address_pairs(&ask.allowed_address_pairs, mac)?;
    check_security(port_security_enabled, &security_groups, &allowed_address_pairs, ask.security_groups.is_some())?;
    let allocation = Allocation { cloud, network: ask.network, mac, device_owner: &ask.device_owner, held: &[] };
    let attributes = PortAttributes {
        name: ask.name.clone(),
        description: ask.description.clone(),
        admin_state_up: ask.admin_state_up,
        fixed_ips: allocation.allocate(ask.fixed_ips.as_deref(), taken)?,
        security_groups,
        port_security_enabled,
        allowed_address_pairs,
        extra_dhcp_opts: ask.extra_dhcp_opts.clone(),
        device_id: ask.device_id.clone(),
        device_owner: ask.device_owner.clone(),
        vnic_type: ask.vnic_type.clone(),
        binding_profile: ask.binding_profile.clone(),
        binding_host: ask.binding_host.clone(),
        dns_name: String::new(),
        tags: tags::changed(&[], Some(&TagChange::Set(ask.tags.clone())))?,
    };
    let bound = ask.binding_host.clone().filter(|h| cloud.hosts.contains(h));
    events.push(PortEvent::PortCreated { id: ask.id, project: ask.project, network: ask.network, mac, attributes }.into());
    events.extend(bound.map(|host| Event::from(PortEvent::PortBound { id: ask.id, host })));
    Ok(events)
}

fn default_group(cloud: &Cloud, ask: &NewPort, now: Timestamp, taken: &mut Taken, events: &mut Vec<Event>) -> SecurityGroupId {
    if let Some(group) = cloud.security_groups.default_of(&ask.project) {
        return group.id;
    }
    *taken.default_groups.entry(ask.project).or_insert_with(|| {
        events.extend(security_group::ensure_default(cloud, &ask.project, &ask.default_group, now));
        ask.default_group.group
    })
}

/// The groups, each once, if the project (or an admin's call) may use them.
fn known_groups(cloud: &Cloud, scope: &Scope, project: &ProjectId, ids: &[SecurityGroupId]) -> Result<Vec<SecurityGroupId>, Refusal> {
    let mut seen = BTreeSet::new();
    let mut stateful = None;
    for id in ids {
        let group = cloud.security_groups.get(id).filter(|g| *scope == Scope::All || g.project == *project);
        let group = group.ok_or_else(|| security_group::not_found(id))?;
        if *stateful.get_or_insert(group.stateful) != group.stateful {
            let message = "A port can't have stateful and stateless security groups at once.";
            return Err(Refusal::new(Class::Conflict, "SecurityGroupConflict", message));
        }
        seen.insert(group.id);
    }
    Ok(seen.into_iter().collect())
}

pub(super) fn free_mac(cloud: &Cloud, network: &NetworkId, wanted: WantedMac, taken: &mut Taken) -> Result<MacAddress, Refusal> {
    let free =
        |mac: &MacAddress, taken: &Taken| cloud.ports.owner_of_mac(network, mac).is_none() && !taken.macs.contains(&(*network, *mac));
    let mac = match wanted {
        WantedMac::This(mac) if free(&mac, taken) => mac,
        WantedMac::This(mac) => {
            let message = format!("Unable to complete operation for network {network}. The mac address {mac} is in use.");
            return Err(Refusal::new(Class::Conflict, "MacAddressInUse", message));
        }
        WantedMac::From(mut mac) => {
            // The last three bytes are ours to choose; a network never holds all 16 million.
            while !free(&mac, taken) {
                let [a, b, c, d, e, f] = mac.0;
                let [_, d, e, f] = ((u32::from_be_bytes([0, d, e, f]) + 1) & 0xff_ffff).to_be_bytes();
                mac = MacAddress([a, b, c, d, e, f]);
            }
            mac
        }
    };
    taken.macs.insert((*network, mac));
    Ok(mac)
}

fn address_pairs(wanted: &[WantedPair], own: MacAddress) -> Result<Vec<AddressPair>, Refusal> {
    let refuse = |kind, message: String| Err(Refusal::new(Class::Invalid, kind, message));
    if wanted.len() > MOST_PAIRS {
        return refuse("AddressPairsExhausted", format!("The number of allowed address pair exceeds the maximum {MOST_PAIRS}."));
    }
    let mut pairs: Vec<AddressPair> = vec![];
    for pair in wanted {
        let pair = AddressPair { ip_address: pair.ip_address.clone(), mac_address: pair.mac_address.unwrap_or(own) };
        if pairs.contains(&pair) {
            let AddressPair { ip_address, mac_address } = pair;
            return refuse(
                "DuplicateAddressPairInRequest",
                format!("Request contains duplicate address pair: mac_address {mac_address} ip_address {ip_address}."),
            );
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

fn check_security(enabled: bool, groups: &[SecurityGroupId], pairs: &[AddressPair], groups_asked: bool) -> Result<(), Refusal> {
    if enabled {
        return Ok(());
    }
    if !pairs.is_empty() {
        let message = "Port Security must be enabled in order to have allowed address pairs on a port.";
        return Err(Refusal::new(Class::Conflict, "AddressPairAndPortSecurityRequired", message));
    }
    if !groups.is_empty() && groups_asked {
        let message = "Port security must be enabled and port must have an IP address in order to use security groups.";
        return Err(Refusal::new(Class::Invalid, "PortSecurityAndIPRequiredForSecurityGroups", message));
    }
    if !groups.is_empty() {
        let message = "Port has security group associated. Cannot disable port security or IP address until security group is removed.";
        return Err(Refusal::new(Class::Conflict, "PortSecurityPortHasSecurityGroup", message));
    }
    Ok(())
}

/// Changes what is given.
#[derive(Debug, Clone, Default)]
pub struct PortChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub admin_state_up: Option<bool>,
    pub mac: Option<MacAddress>,
    pub fixed_ips: Option<Vec<WantedIp>>,
    pub security_groups: Option<Vec<SecurityGroupId>>,
    pub port_security_enabled: Option<bool>,
    pub allowed_address_pairs: Option<Vec<WantedPair>>,
    /// By name and IP version; without a value the option goes.
    pub extra_dhcp_opts: Vec<(String, u8, Option<String>)>,
    pub device_id: Option<String>,
    pub device_owner: Option<String>,
    pub vnic_type: Option<String>,
    pub binding_profile: Option<Map<String, Value>>,
    pub binding_host: Option<Option<HostName>>,
    pub tags: Option<TagChange>,
}

impl PortChanges {
    /// Whether they change where it is and what it answers to.
    fn concern_its_place(&self) -> bool {
        self.mac.is_some() || self.fixed_ips.is_some() || self.device_id.is_some() || self.binding_host.is_some()
    }
}

/// Changes a port.
#[derive(Debug, Clone)]
pub struct UpdatePort {
    pub id: PortId,
    pub scope: Scope,
    pub changes: PortChanges,
    pub revision: Option<u32>,
}

impl Command for UpdatePort {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let port = cloud.ports.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, port.revision)?;
        let (old, ask, mut taken) = (&port.attributes, self.changes.clone(), Taken::default());
        let mut events = vec![];
        let mac = match ask.mac.filter(|mac| *mac != port.mac) {
            None => port.mac,
            Some(mac) => {
                if let Some(binding) = &port.binding {
                    let message = format!(
                        "Unable to complete operation on port {}, port is already bound to host {}, old_mac {}, new_mac {mac}.",
                        port.id, binding.host, port.mac
                    );
                    return Err(Refusal::new(Class::Conflict, "PortBound", message));
                }
                events.push(PortEvent::PortMacChanged { id: port.id, mac }.into());
                free_mac(cloud, &port.network, WantedMac::This(mac), &mut taken)?
            }
        };
        let device_owner = ask.device_owner.unwrap_or_else(|| old.device_owner.clone());
        if port.is_distributed() != (device_owner == DISTRIBUTED) || port.is_distributed() && self.changes.concern_its_place() {
            distributed::not_by_hand(DISTRIBUTED)?;
        }
        let security_groups = match &ask.security_groups {
            Some(groups) => known_groups(cloud, &self.scope, &port.project, groups)?,
            None => old.security_groups.clone(),
        };
        let allowed_address_pairs = match &ask.allowed_address_pairs {
            Some(pairs) => address_pairs(pairs, mac)?,
            None => old.allowed_address_pairs.clone(),
        };
        let port_security_enabled = ask.port_security_enabled.unwrap_or(old.port_security_enabled);
        check_security(port_security_enabled, &security_groups, &allowed_address_pairs, ask.security_groups.is_some())?;
        let fixed_ips = match &ask.fixed_ips {
            None => old.fixed_ips.clone(),
            Some(wanted) => {
                let allocation = Allocation { cloud, network: port.network, mac, device_owner: &device_owner, held: &old.fixed_ips };
                allocation.allocate(Some(wanted), &mut taken)?
            }
        };
        let binding_host = ask.binding_host.clone().unwrap_or_else(|| old.binding_host.clone());
        let attributes = PortAttributes {
            name: ask.name.unwrap_or_else(|| old.name.clone()),
            description: ask.description.unwrap_or_else(|| old.description.clone()),
            admin_state_up: ask.admin_state_up.unwrap_or(old.admin_state_up),
            fixed_ips,
            security_groups,
            port_security_enabled,
            allowed_address_pairs,
            extra_dhcp_opts: dhcp_options(&old.extra_dhcp_opts, &ask.extra_dhcp_opts),
            device_id: ask.device_id.unwrap_or_else(|| old.device_id.clone()),
            device_owner,
            vnic_type: ask.vnic_type.unwrap_or_else(|| old.vnic_type.clone()),
            binding_profile: ask.binding_profile.unwrap_or_else(|| old.binding_profile.clone()),
            binding_host,
            dns_name: old.dns_name.clone(),
            tags: tags::changed(&old.tags, ask.tags.as_ref())?,
        };
        if attributes != *old {
            events.push(PortEvent::PortUpdated { id: port.id, attributes }.into());
        }
        if let Some(wanted) = ask.binding_host {
            events.extend(rebind(cloud, port, wanted)?);
        }
        Ok(events)
    }
}

/// What follows from an admin's naming another host. Where an instance uses the port, its placement decides.
fn rebind(cloud: &Cloud, port: &Port, wanted: Option<HostName>) -> Result<Vec<Event>, Refusal> {
    let now = port.binding.as_ref().map(|b| b.host.clone());
    if now == wanted || instance_of(cloud, port).is_some() {
        return Ok(vec![]);
    }
    let unbound = now.map(|host| PortEvent::PortUnbound { id: port.id, host }.into());
    let bound = wanted.filter(|h| cloud.hosts.contains(h)).map(|host| PortEvent::PortBound { id: port.id, host }.into());
    Ok(unbound.into_iter().chain(bound).collect())
}

fn dhcp_options(old: &[DhcpOption], changes: &[(String, u8, Option<String>)]) -> Vec<DhcpOption> {
    let mut options = old.to_vec();
    for (name, version, value) in changes {
        options.retain(|o| o.opt_name != *name || o.ip_version != *version);
        options.extend(value.clone().map(|value| DhcpOption { opt_name: name.clone(), opt_value: value, ip_version: *version }));
    }
    options
}

/// The instance that has this port.
pub fn instance_of(cloud: &Cloud, port: &Port) -> Option<InstanceId> {
    cloud.instances.holding(&port.id).map(|i| i.id)
}

/// Deletes a port; an instance that has it loses it.
#[derive(Debug, Clone)]
pub struct DeletePort {
    pub id: PortId,
    pub revision: Option<u32>,
}

impl Command for DeletePort {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let port = cloud.ports.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, port.revision)?;
        let owner = &port.attributes.device_owner;
        distributed::not_by_hand(owner)?;
        if owner.starts_with("network:router") || owner == "network:floatingip" {
            let message = format!("Port {} cannot be deleted directly via the port API: has device owner {owner}.", self.id);
            return Err(Refusal::new(Class::Conflict, "ServicePortInUse", message));
        }
        let instance = instance_of(cloud, port).and_then(|id| cloud.instances.get(&id));
        let without = |ports: &[PortId]| ports.iter().filter(|p| **p != self.id).copied().collect::<Vec<_>>();
        let told = instance.map(|i| InstanceEvent::InstancePortsChanged {
            id: i.id,
            ports: without(&i.spec.ports),
            own_ports: without(&i.spec.own_ports),
        });
        Ok(told.map(Event::from).into_iter().chain(events![PortEvent::PortDeleted { id: self.id }]).collect())
    }
}

/// Takes a port from its instance: one that was made for it is deleted, another is free again and on no host.
pub fn release(port: &Port, own: bool) -> Vec<Event> {
    if own {
        return events![PortEvent::PortDeleted { id: port.id }];
    }
    let attributes =
        PortAttributes { device_id: String::new(), device_owner: String::new(), binding_host: None, ..port.attributes.clone() };
    let unbound = port.binding.as_ref().map(|b| PortEvent::PortUnbound { id: port.id, host: b.host.clone() }.into());
    unbound.into_iter().chain(events![PortEvent::PortUpdated { id: port.id, attributes }]).collect()
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
