//! A network's distributed port: from its addresses every host serves DHCP and metadata. Invariant: a network with a subnet
//! that has DHCP has exactly one, with an address in each such subnet that had one free; it comes, changes and goes in the
//! commit that changes the subnets, and nobody else may make, change or delete one. It counts against no quota.

use super::address::{Allocation, Taken, WantedIp};
use super::instance::PortSeed;
use super::port::free_mac;
use crate::draft::Draft;
use crate::{Class, Refusal};
use serde_json::Map;
use strata_events::port::{FixedIp, PortAttributes, PortEvent};
use strata_events::{NetworkId, SubnetId};
use strata_projections::Cloud;
use strata_projections::cloud::port::{DISTRIBUTED, Port, distributed_device};

/// Whether a port goes with its network and subnets (Neutron's AUTO_DELETE_PORT_OWNERS).
pub fn goes_with_its_network(port: &Port) -> bool {
    [DISTRIBUTED, "network:dhcp"].contains(&port.attributes.device_owner.as_str())
}

/// Refuses what would break the invariant from outside.
pub fn not_by_hand(device_owner: &str) -> Result<(), Refusal> {
    if device_owner != DISTRIBUTED {
        return Ok(());
    }
    let message =
        format!("A port of device owner {DISTRIBUTED} is made, changed and deleted with the subnets of its network, not by itself.");
    Err(Refusal::new(Class::Conflict, "ServicePortInUse", message))
}

/// Brings the port to what the subnets are now. `needs` is a subnet in which it must get an address; in others it goes without
/// where none is free.
pub fn follow(draft: &mut Draft<'_>, network: &NetworkId, seed: PortSeed, needs: Option<SubnetId>) -> Result<(), Refusal> {
    let port = draft.cloud.ports.distributed(network).cloned();
    let Some(owner) = draft.cloud.networks.get(network).map(|n| n.project) else { return Ok(()) };
    if !draft.cloud.subnets.on_network(network).any(|s| s.attributes.enable_dhcp) {
        return port.map_or(Ok(()), |p| draft.push(PortEvent::PortDeleted { id: p.id }));
    }
    let mac = match &port {
        Some(port) => port.mac,
        None => free_mac(&draft.cloud, network, super::port::WantedMac::From(seed.mac), &mut Taken::default())?,
    };
    let held = port.as_ref().map(|p| p.attributes.fixed_ips.clone()).unwrap_or_default();
    let allocation = Allocation { cloud: &draft.cloud, network: *network, mac, device_owner: DISTRIBUTED, held: &held };
    let fixed_ips = addresses(&draft.cloud, &allocation, needs)?;
    match port {
        Some(port) if port.attributes.fixed_ips == fixed_ips => Ok(()),
        Some(port) => {
            let attributes = PortAttributes { fixed_ips, ..port.attributes.clone() };
            draft.push(PortEvent::PortUpdated { id: port.id, attributes })
        }
        None => {
            let attributes = PortAttributes {
                name: String::new(),
                description: String::new(),
                admin_state_up: true,
                fixed_ips,
                security_groups: vec![],
                port_security_enabled: false,
                allowed_address_pairs: vec![],
                extra_dhcp_opts: vec![],
                device_id: distributed_device(network),
                device_owner: DISTRIBUTED.into(),
                vnic_type: "normal".into(),
                binding_profile: Map::new(),
                binding_host: None,
                dns_name: String::new(),
                tags: vec![],
            };
            draft.push(PortEvent::PortCreated { id: seed.id, project: owner, network: *network, mac, attributes })
        }
    }
}

/// One address in each subnet with DHCP: the one it has, or any.
fn addresses(cloud: &Cloud, allocation: &Allocation<'_>, needs: Option<SubnetId>) -> Result<Vec<FixedIp>, Refusal> {
    let mut given = vec![];
    for subnet in cloud.subnets.on_network(&allocation.network).filter(|s| s.attributes.enable_dhcp) {
        match allocation.allocate(Some(&[WantedIp { subnet: Some(subnet.id), ip: None }]), &mut Taken::default()) {
            Ok(fixed) => given.extend(fixed.into_iter().filter(|f| f.subnet == subnet.id)),
            Err(refusal) if needs == Some(subnet.id) => return Err(refusal),
            Err(_) => {}
        }
    }
    Ok(given)
}
