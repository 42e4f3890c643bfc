//! A server's NICs: which networks and ports it gets, as Nova chooses them (nova/network/neutron.py).

use super::request::RequestInstances;
use crate::decide::address::{Taken, WantedIp};
use crate::decide::network::Scope;
use crate::decide::port::{NewPort, plan_port};
use crate::decide::security_group::DefaultGroupIds;
use crate::{Class, Refusal, events};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use strata_events::port::{MacAddress, PortAttributes, PortEvent};
use strata_events::{Event, InstanceId, NetworkId, PortId, ProjectId, SecurityGroupId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::network::Network;
use strata_projections::cloud::port::Port;

/// What the caller said of networks.
#[derive(Debug, Clone)]
pub enum WantedNetworks {
    /// Nothing: the project's only network, if it has one.
    Unsaid,
    /// `auto`: the project's only network, which must be there.
    Auto,
    /// `none`: no NIC.
    Nothing,
    /// These, in this order.
    These(Vec<NicAsk>),
}

/// One NIC asked for.
#[derive(Debug, Clone)]
pub struct NicAsk {
    pub target: NicTarget,
}

/// What a NIC is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicTarget {
    /// A port that exists.
    Port(PortId),
    /// A new port on this network.
    Network { id: NetworkId, fixed_ip: Option<IpAddr> },
}

/// The NICs that a request leads to.
pub(super) fn resolve(cloud: &Cloud, ask: &RequestInstances) -> Result<Vec<NicTarget>, Refusal> {
    let several = ask.instances.len() > 1;
    match &ask.networks {
        WantedNetworks::Nothing => Ok(vec![]),
        WantedNetworks::These(nics) if !nics.is_empty() => {
            let mut ports = BTreeSet::new();
            for nic in nics {
                match &nic.target {
                    NicTarget::Port(_) if several => {
                        return Err(Refusal::invalid(
                            "Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.",
                        ));
                    }
                    NicTarget::Network { fixed_ip: Some(_), .. } if several => {
                        return Err(Refusal::invalid(
                            "Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.",
                        ));
                    }
                    NicTarget::Port(id) => {
                        usable_port(cloud, &ask.project, ask.admin, id)?;
                        if !ports.insert(id) {
                            return Err(in_use(id));
                        }
                    }
                    NicTarget::Network { id, fixed_ip } => usable_network(cloud, &ask.project, ask.admin, id, fixed_ip.is_some())?,
                }
            }
            Ok(nics.iter().map(|n| n.target.clone()).collect())
        }
        wanted => {
            let own = cloud.networks.of_project(&ask.project);
            let shared = cloud.networks.values().filter(|n| n.attributes.shared && n.project != ask.project);
            let available: Vec<&Arc<Network>> = own.chain(shared).filter(|n| !n.attributes.external).collect();
            match available[..] {
                [] if matches!(wanted, WantedNetworks::Auto) => Err(Refusal::invalid(format!(
                    "Unable to automatically allocate a network for project {}: it has none, create one with a subnet.",
                    ask.project
                ))),
                [] => Ok(vec![]),
                [only] => {
                    usable_network(cloud, &ask.project, ask.admin, &only.id, false)?;
                    Ok(vec![NicTarget::Network { id: only.id, fixed_ip: None }])
                }
                _ => Err(Refusal::conflict("Multiple possible networks found, use a Network ID to be more specific.")
                    .with_kind("NetworkAmbiguous")),
            }
        }
    }
}

/// A network that a project may plug servers into; with an address of its choice only its own, as Neutron answers Nova, which
/// asks it in the user's name.
pub(super) fn usable_network(cloud: &Cloud, project: &ProjectId, admin: bool, id: &NetworkId, address: bool) -> Result<(), Refusal> {
    let seen = |n: &&Arc<Network>| admin || n.project == *project || n.attributes.shared || n.attributes.external;
    let network = cloud.networks.get(id).filter(seen).ok_or_else(|| Refusal::invalid(format!("Network {id} could not be found.")))?;
    if network.attributes.external && !network.attributes.shared && !admin && network.project != *project {
        return Err(Refusal::forbidden(format!("It is not allowed to create an interface on external network {id}")));
    }
    if address && !admin && network.project != *project {
        return Err(Refusal::forbidden("(rule:create_port and rule:create_port:fixed_ips:ip_address) is disallowed by policy"));
    }
    if cloud.subnets.on_network(id).next().is_none() {
        return Err(Refusal::invalid(format!("Network {id} requires a subnet in order to boot instances on.")));
    }
    Ok(())
}

/// A port that a project may plug into a server, and that is in no other.
pub(super) fn usable_port<'a>(cloud: &'a Cloud, project: &ProjectId, admin: bool, id: &PortId) -> Result<&'a Arc<Port>, Refusal> {
    let port = cloud.ports.get(id).filter(|p| admin || p.project == *project);
    let port = port.ok_or_else(|| Refusal::invalid(format!("Port id {id} could not be found.")))?;
    // Whoever owns a port may take its device's name from it; its server has it still.
    if !port.attributes.device_id.is_empty() || cloud.instances.holding(id).is_some() {
        return Err(in_use(id));
    }
    if port.attributes.fixed_ips.is_empty() {
        return Err(Refusal::invalid(format!("Port {id} requires a FixedIP in order to be used.")));
    }
    Ok(port)
}

fn in_use(id: &PortId) -> Refusal {
    Refusal::conflict(format!("Port {id} is still in use.")).with_kind("PortInUse")
}

/// The security groups named by name or id; none when the default shall be taken.
pub(super) fn security_groups(cloud: &Cloud, project: &ProjectId, names: &[String]) -> Result<Option<Vec<SecurityGroupId>>, Refusal> {
    if names.is_empty() || (names.len() == 1 && names[0] == "default") {
        return Ok(None);
    }
    names.iter().map(|name| security_group(cloud, project, name)).collect::<Result<Vec<_>, _>>().map(Some)
}

/// The project's security group of this id or name.
pub(super) fn security_group(cloud: &Cloud, project: &ProjectId, name: &str) -> Result<SecurityGroupId, Refusal> {
    let own = |id: &SecurityGroupId| cloud.security_groups.get(id).is_some_and(|g| g.project == *project);
    if let Some(id) = name.parse().ok().filter(own) {
        return Ok(id);
    }
    let mut named = cloud.security_groups.of_project(project).filter(|g| g.name == name);
    match (named.next(), named.next()) {
        (Some(group), None) => Ok(group.id),
        (Some(_), Some(_)) => {
            Err(Refusal::conflict(format!("Multiple security groups found matching '{name}'. Use an ID to be more specific.")))
        }
        (None, _) => Err(Refusal::invalid(format!("Security group {name} not found for project {project}."))),
    }
}

/// What a new port needs that can't be decided.
#[derive(Debug, Clone, Copy)]
pub struct PortSeed {
    pub id: PortId,
    /// Where to look for a free MAC first.
    pub mac: MacAddress,
}

/// A server's ports in the order of its NICs, and those of them that are made for it.
pub(super) fn ids(nics: &[NicTarget], seeds: &[PortSeed]) -> (Vec<PortId>, Vec<PortId>) {
    let mut seeds = seeds.iter();
    let mut own = vec![];
    let all = nics.iter().filter_map(|nic| match nic {
        NicTarget::Port(id) => Some(*id),
        NicTarget::Network { .. } => seeds.next().map(|seed| {
            own.push(seed.id);
            seed.id
        }),
    });
    (all.collect(), own)
}

/// The device that ports are plugged into, and whose they are.
pub(super) struct Device<'a> {
    pub id: InstanceId,
    pub project: ProjectId,
    pub owner: String,
    pub admin: bool,
    pub security_groups: &'a Option<Vec<SecurityGroupId>>,
    pub default_group: DefaultGroupIds,
}

/// `compute:<zone>`, as Nova marks its ports.
pub(super) fn owner(zone: Option<&str>) -> String {
    format!("compute:{}", zone.unwrap_or("nova"))
}

/// The events that make or take the port of one NIC. Several NICs of one decision share `taken`.
pub(super) fn plug(
    cloud: &Cloud,
    now: Timestamp,
    device: &Device<'_>,
    nic: &NicTarget,
    seed: Option<&PortSeed>,
    taken: &mut Taken,
) -> Result<Vec<Event>, Refusal> {
    match nic {
        NicTarget::Port(id) => {
            let port = usable_port(cloud, &device.project, device.admin, id)?;
            let attributes =
                PortAttributes { device_id: device.id.to_string(), device_owner: device.owner.clone(), ..port.attributes.clone() };
            Ok(events![PortEvent::PortUpdated { id: *id, attributes }])
        }
        NicTarget::Network { id, fixed_ip } => {
            let seed = seed.ok_or_else(|| Refusal::invalid("More networks were asked for than there are ids for ports."))?;
            let scope = if device.admin { Scope::All } else { Scope::Project(device.project) };
            let secure = cloud.networks.get(id).is_none_or(|n| n.attributes.port_security_enabled);
            let ask = NewPort {
                fixed_ips: fixed_ip.map(|ip| vec![WantedIp { subnet: None, ip: Some(ip) }]),
                security_groups: if secure { device.security_groups.clone() } else { None },
                device_id: device.id.to_string(),
                device_owner: device.owner.clone(),
                ..NewPort::plain(seed.id, device.project, scope, *id, seed.mac, device.default_group)
            };
            plan_port(cloud, &ask, now, taken).map_err(told)
        }
    }
}

/// What Neutron refuses, Nova tells as a bad request, and a full quota in its own words.
fn told(refusal: Refusal) -> Refusal {
    match refusal.class {
        Class::OverQuota => Refusal::new(Class::OverQuota, "PortLimitExceeded", "Maximum number of ports exceeded"),
        _ => Refusal { class: Class::Invalid, ..refusal },
    }
}
