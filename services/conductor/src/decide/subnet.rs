//! What may be asked of a subnet. Invariants: subnets of one network don't overlap; pools lie inside the subnet, apart from
//! each other and from the gateway; a subnet from which a port has an address stays.

use super::address::{eui64, is_auto, is_auto_subnet};
use super::distributed::{self, goes_with_its_network};
use super::instance::PortSeed;
use super::network::{Scope, carries, invalid_input, same_revision, within_quota};
use super::pools::{check_gateway, check_pools, default_pools, first_host};
use super::tags::{self, TagChange};
use crate::draft::Draft;
use crate::{Class, Command, Context, Decision, Refusal};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use strata_events::port::{FixedIp, PortAttributes, PortEvent};
use strata_events::subnet::{HostRoute, Pool, SubnetAttributes, SubnetEvent};
use strata_events::{Event, NetworkId, ProjectId, SubnetId};
use strata_projections::Cloud;
use strata_projections::cloud::port::Port;

/// Neutron's max_dns_nameservers and max_subnet_host_routes.
const MAX_DNS: usize = 5;
const MAX_ROUTES: usize = 20;

pub fn not_found(id: &SubnetId) -> Refusal {
    Refusal::not_found("Subnet", id).with_kind("SubnetNotFound")
}

/// Which gateway is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// The first address.
    First,
    None,
    Is(IpAddr),
}

/// Makes a subnet.
#[derive(Debug, Clone)]
pub struct CreateSubnet {
    pub id: SubnetId,
    pub project: ProjectId,
    pub scope: Scope,
    pub network: NetworkId,
    pub cidr: IpNet,
    pub gateway: Gateway,
    /// None: all addresses but the gateway's.
    pub pools: Option<Vec<Pool>>,
    pub ipv6_address_mode: Option<String>,
    pub ipv6_ra_mode: Option<String>,
    /// Its gateway and pools are decided here.
    pub attributes: SubnetAttributes,
    /// What the network's distributed port becomes, if it has none yet.
    pub distributed: PortSeed,
}

impl Command for CreateSubnet {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let network = self.scope.network(cloud, &self.network)?;
        within_quota(cloud, &self.project, "subnet", cloud.subnets.count(&self.project), 1)?;
        let cidr = self.cidr;
        check_cidr(&cidr, self.attributes.enable_dhcp)?;
        carries(network.attributes.mtu, &cidr)?;
        if let Some(other) = cloud.subnets.on_network(&self.network).find(|s| overlap(&s.cidr, &cidr)) {
            return Err(invalid_input(format_args!(
                "Requested subnet with cidr: {cidr} for network: {} overlaps with another subnet ({}, {})",
                self.network, other.id, other.cidr
            )));
        }
        self.check_modes()?;
        let gateway_ip = match self.gateway {
            Gateway::None => None,
            Gateway::First => first_host(&cidr),
            Gateway::Is(ip) => {
                check_gateway(&cidr, ip)?;
                Some(ip)
            }
        };
        let allocation_pools = match &self.pools {
            None => default_pools(&cidr, gateway_ip),
            Some(pools) => check_pools(&cidr, gateway_ip, pools)?,
        };
        let attributes = SubnetAttributes { gateway_ip, allocation_pools, ..self.attributes.clone() };
        check_attributes(&self.id, &cidr, &attributes)?;
        let mut draft = Draft::of(cloud, ctx);
        draft.push(SubnetEvent::SubnetCreated {
            id: self.id,
            project: self.project,
            network: self.network,
            cidr,
            ipv6_address_mode: self.ipv6_address_mode.clone(),
            ipv6_ra_mode: self.ipv6_ra_mode.clone(),
            attributes,
        })?;
        if is_auto(self.ipv6_address_mode.as_deref(), self.ipv6_ra_mode.as_deref()) {
            self.autoconfigured(cloud).try_for_each(|event| draft.push(event))?;
        }
        distributed::follow(&mut draft, &self.network, self.distributed, None)?;
        Ok(draft.events)
    }
}

impl CreateSubnet {
    fn check_modes(&self) -> Result<(), Refusal> {
        let (ra, address) = (self.ipv6_ra_mode.as_deref(), self.ipv6_address_mode.as_deref());
        if ra.is_none() && address.is_none() {
            return Ok(());
        }
        if matches!(self.cidr, IpNet::V4(_)) {
            return Err(invalid_input("ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4"));
        }
        if !self.attributes.enable_dhcp {
            return Err(invalid_input("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"));
        }
        if let (Some(ra), Some(address)) = (ra, address)
            && ra != address
        {
            return Err(invalid_input(format_args!(
                "ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. If both attributes are set, they must be the same value"
            )));
        }
        if is_auto(address, ra) && self.cidr.prefix_len() != 64 {
            return Err(invalid_input(format_args!(
                "Invalid CIDR {} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64",
                self.cidr
            )));
        }
        Ok(())
    }
    /// The guests of the ports that are there already will give themselves an address in the new subnet.
    fn autoconfigured(&self, cloud: &Cloud) -> impl Iterator<Item = Event> {
        cloud.ports.on_network(&self.network).filter(|p| !p.attributes.device_owner.starts_with("network:")).filter_map(|p| {
            let ip = eui64(&self.cidr, &p.mac)?;
            let mut attributes = p.attributes.clone();
            attributes.fixed_ips.push(FixedIp { subnet: self.id, ip });
            Some(PortEvent::PortUpdated { id: p.id, attributes }.into())
        })
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn check_cidr(cidr: &IpNet, dhcp: bool) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(invalid_input(format_args!("Invalid CIDR {cidr} for subnet: {why}")));
    if cidr.prefix_len() == 0 {
        return invalid("0 is not allowed as CIDR prefix length");
    }
    if cidr.trunc() != *cidr {
        return invalid(&format!("it has host bits; {} is recommended", cidr.trunc()));
    }
    if !dhcp {
        return Ok(());
    }
    if cidr.network().is_multicast() {
        return invalid("Multicast IP subnet is not supported if enable_dhcp is True");
    }
    if cidr.network().is_loopback() {
        return invalid("Loopback IP subnet is not supported if enable_dhcp is True");
    }
    if cidr.max_prefix_len() - cidr.prefix_len() < 2 {
        return invalid("the prefix is too long for a subnet with DHCP enabled");
    }
    Ok(())
}

/// What holds at creation and after every change.
fn check_attributes(id: &SubnetId, cidr: &IpNet, attributes: &SubnetAttributes) -> Result<(), Refusal> {
    let version = if matches!(cidr, IpNet::V4(_)) { 4 } else { 6 };
    let same = |name: &str, ip: IpAddr| match ip.is_ipv4() == (version == 4) {
        true => Ok(()),
        false => Err(invalid_input(format_args!("{name} '{ip}' does not match the ip_version '{version}'"))),
    };
    let exhausted = |kind, what: &str, most: usize| {
        let message = format!("Unable to complete operation for {id}. The number of {what} exceeds the limit {most}.");
        Err(Refusal::new(Class::Invalid, kind, message))
    };
    attributes.gateway_ip.map_or(Ok(()), |ip| same("gateway_ip", ip))?;
    if attributes.dns_nameservers.len() > MAX_DNS {
        return exhausted("DNSNameServersExhausted", "DNS nameservers", MAX_DNS);
    }
    if attributes.host_routes.len() > MAX_ROUTES {
        return exhausted("HostRoutesExhausted", "host routes", MAX_ROUTES);
    }
    attributes.dns_nameservers.iter().try_for_each(|ip| same("dns_nameserver", *ip))?;
    for HostRoute { destination, nexthop } in &attributes.host_routes {
        same("destination", destination.addr())?;
        same("nexthop", *nexthop)?;
    }
    Ok(())
}

/// Changes what is given.
#[derive(Debug, Clone, Default)]
pub struct SubnetChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub gateway: Option<Option<IpAddr>>,
    pub enable_dhcp: Option<bool>,
    pub pools: Option<Vec<Pool>>,
    pub dns_nameservers: Option<Vec<IpAddr>>,
    pub host_routes: Option<Vec<HostRoute>>,
    pub service_types: Option<Vec<String>>,
    pub tags: Option<TagChange>,
}

/// Changes a subnet. Addresses that ports have stay theirs, whatever the pools become.
#[derive(Debug, Clone)]
pub struct UpdateSubnet {
    pub id: SubnetId,
    pub changes: SubnetChanges,
    pub revision: Option<u32>,
    /// What the network's distributed port becomes, if it has none yet.
    pub distributed: PortSeed,
}

impl Command for UpdateSubnet {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let subnet = cloud.subnets.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, subnet.revision)?;
        let (old, ask) = (&subnet.attributes, self.changes.clone());
        let gateway_ip = ask.gateway.unwrap_or(old.gateway_ip);
        if let Some(ip) = gateway_ip.filter(|_| gateway_ip != old.gateway_ip) {
            check_gateway(&subnet.cidr, ip)?;
        }
        let allocation_pools = match &ask.pools {
            Some(pools) => check_pools(&subnet.cidr, gateway_ip, pools)?,
            None if gateway_ip == old.gateway_ip => old.allocation_pools.clone(),
            None => check_pools(&subnet.cidr, gateway_ip, &old.allocation_pools)?,
        };
        let attributes = SubnetAttributes {
            name: ask.name.unwrap_or_else(|| old.name.clone()),
            description: ask.description.unwrap_or_else(|| old.description.clone()),
            gateway_ip,
            enable_dhcp: ask.enable_dhcp.unwrap_or(old.enable_dhcp),
            allocation_pools,
            dns_nameservers: ask.dns_nameservers.unwrap_or_else(|| old.dns_nameservers.clone()),
            host_routes: ask.host_routes.unwrap_or_else(|| old.host_routes.clone()),
            dns_publish_fixed_ip: old.dns_publish_fixed_ip,
            service_types: ask.service_types.unwrap_or_else(|| old.service_types.clone()),
            tags: tags::changed(&old.tags, ask.tags.as_ref())?,
        };
        if attributes.enable_dhcp && !old.enable_dhcp {
            check_cidr(&subnet.cidr, true)?;
        }
        if !attributes.enable_dhcp && (subnet.ipv6_ra_mode.is_some() || subnet.ipv6_address_mode.is_some()) {
            return Err(invalid_input("Cannot disable enable_dhcp with ipv6 attributes set"));
        }
        check_attributes(&self.id, &subnet.cidr, &attributes)?;
        if attributes == *old {
            return Ok(vec![]);
        }
        let needs = (attributes.enable_dhcp && !old.enable_dhcp).then_some(self.id);
        let mut draft = Draft::of(cloud, ctx);
        draft.push(SubnetEvent::SubnetUpdated { id: self.id, attributes })?;
        distributed::follow(&mut draft, &subnet.network, self.distributed, needs)?;
        Ok(draft.events)
    }
}

/// Deletes a subnet from which nothing has an address, except those that guests gave themselves.
#[derive(Debug, Clone)]
pub struct DeleteSubnet {
    pub id: SubnetId,
    pub revision: Option<u32>,
}

impl Command for DeleteSubnet {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let subnet = cloud.subnets.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, subnet.revision)?;
        let users = || cloud.ports.addresses_in(&self.id).filter_map(|(_, port)| cloud.ports.get(port));
        let auto = is_auto_subnet(subnet);
        if users().filter(|p| !goes_with_its_network(p)).any(|p| !auto || p.attributes.device_owner.starts_with("network:router")) {
            return Err(Refusal::new(
                Class::Conflict,
                "SubnetInUse",
                format!("Unable to complete operation on subnet {}: One or more ports have an IP allocation from this subnet.", self.id),
            ));
        }
        let without = |p: &Port| {
            let fixed_ips = p.attributes.fixed_ips.iter().filter(|f| f.subnet != self.id).copied().collect();
            PortEvent::PortUpdated { id: p.id, attributes: PortAttributes { fixed_ips, ..p.attributes.clone() } }
        };
        let mut draft = Draft::of(cloud, ctx);
        // Addresses outside the subnet's pools may be several on one port.
        let mut told = BTreeSet::new();
        for port in users().filter(|p| told.insert(p.id)) {
            draft.push(without(port))?;
        }
        draft.push(SubnetEvent::SubnetDeleted { id: self.id })?;
        if let Some(port) = cloud.ports.distributed(&subnet.network) {
            let seed = PortSeed { id: port.id, mac: port.mac };
            distributed::follow(&mut draft, &subnet.network, seed, None)?;
        }
        Ok(draft.events)
    }
}

#[cfg(test)]
#[path = "subnet_tests.rs"]
pub(crate) mod tests;
