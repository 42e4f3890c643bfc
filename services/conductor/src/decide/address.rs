//! Giving addresses to ports. Invariant: an address is given to one port of its subnet, lies inside the subnet, and, when
//! nobody asked for it by name, inside a pool; one is given if and only if one is free.

use super::network::invalid_input;
use super::pools::is_host;
use crate::{Class, Refusal};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use strata_events::port::{FixedIp, MacAddress};
use strata_events::{NetworkId, ProjectId, SecurityGroupId, SubnetId};
use strata_projections::Cloud;
use strata_projections::cloud::addresses::{address, number};
use strata_projections::cloud::subnet::Subnet;

/// An address as it was asked for: this one, any of this subnet, or this one of this subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedIp {
    pub subnet: Option<SubnetId>,
    pub ip: Option<IpAddr>,
}

/// More than this on one port is refused.
const MOST_IPS: usize = 32;

/// What earlier parts of the same decision took; the cloud doesn't know of it yet.
#[derive(Debug, Default)]
pub struct Taken {
    addresses: BTreeSet<(SubnetId, IpAddr)>,
    /// Below these nothing is free in a subnet's pool any more.
    reached: BTreeMap<(SubnetId, usize), u128>,
    pub(super) macs: BTreeSet<(NetworkId, MacAddress)>,
    pub(super) ports: BTreeMap<ProjectId, u64>,
    pub(super) default_groups: BTreeMap<ProjectId, SecurityGroupId>,
}

/// Whether guests give themselves addresses in subnets of these modes.
pub fn is_auto(address_mode: Option<&str>, ra_mode: Option<&str>) -> bool {
    [address_mode, ra_mode].into_iter().flatten().any(|mode| mode == "slaac" || mode == "dhcpv6-stateless")
}

pub fn is_auto_subnet(subnet: &Subnet) -> bool {
    is_auto(subnet.ipv6_address_mode.as_deref(), subnet.ipv6_ra_mode.as_deref())
}

/// The address that a guest with this MAC gives itself (RFC 4291, modified EUI-64); none in IPv4.
pub fn eui64(cidr: &IpNet, mac: &MacAddress) -> Option<IpAddr> {
    let IpNet::V6(net) = cidr else { return None };
    let [a, b, c, d, e, f] = mac.0;
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let prefix = u128::from(net.network()) & !u128::from(u64::MAX);
    Some(Ipv6Addr::from(prefix | u128::from(interface)).into())
}

/// The addresses of a port. `wanted` of none is one of each family; `held` are those that the port has already.
pub struct Allocation<'a> {
    pub cloud: &'a Cloud,
    pub network: NetworkId,
    pub mac: MacAddress,
    pub device_owner: &'a str,
    pub held: &'a [FixedIp],
}

impl Allocation<'_> {
    pub fn allocate(&self, wanted: Option<&[WantedIp]>, taken: &mut Taken) -> Result<Vec<FixedIp>, Refusal> {
        match wanted {
            None => self.automatic(taken),
            Some([]) => Ok(vec![]),
            Some(wanted) => self.explicit(wanted, taken),
        }
    }

    fn subnets(&self) -> impl Iterator<Item = &Arc<Subnet>> {
        self.cloud.subnets.on_network(&self.network)
    }
    /// Whether a subnet serves this sort of port.
    fn serves(&self, subnet: &Subnet) -> bool {
        let types = &subnet.attributes.service_types;
        types.is_empty() || types.iter().any(|t| t == self.device_owner)
    }
    fn is_router(&self) -> bool {
        self.device_owner.starts_with("network:router") || self.device_owner.starts_with("network:ha_router")
    }

    fn automatic(&self, taken: &mut Taken) -> Result<Vec<FixedIp>, Refusal> {
        let mut given = vec![];
        if self.subnets().next().is_some() && !self.subnets().any(|s| self.serves(s)) {
            return Err(Refusal::new(
                Class::Conflict,
                "IpAddressGenerationFailureNoMatchingSubnet",
                format!(
                    "No valid service subnet for the given device owner, network {}, service type {}.",
                    self.network, self.device_owner
                ),
            ));
        }
        for v4 in [true, false] {
            let mut candidates = self
                .subnets()
                .filter(|s| s.cidr.addr().is_ipv4() == v4 && self.serves(s) && (self.is_router() || !is_auto_subnet(s)))
                .peekable();
            if candidates.peek().is_some() {
                let found = candidates.find_map(|s| self.next_free(s, taken)).ok_or_else(|| self.exhausted())?;
                given.push(self.take(found, taken)?);
            }
        }
        self.add_own(&mut given, taken)?;
        Ok(given)
    }

    /// The addresses that the guest gives itself.
    fn add_own(&self, given: &mut Vec<FixedIp>, taken: &mut Taken) -> Result<(), Refusal> {
        if self.is_router() {
            return Ok(());
        }
        for subnet in self.subnets().filter(|s| is_auto_subnet(s) && self.serves(s)) {
            if let Some(ip) = eui64(&subnet.cidr, &self.mac).filter(|_| given.iter().all(|g| g.subnet != subnet.id)) {
                given.push(self.take(FixedIp { subnet: subnet.id, ip }, taken)?);
            }
        }
        Ok(())
    }

    fn explicit(&self, wanted: &[WantedIp], taken: &mut Taken) -> Result<Vec<FixedIp>, Refusal> {
        if wanted.len() > MOST_IPS {
            return Err(invalid_input("Exceeded maximum amount of fixed ips per port"));
        }
        let mut given: Vec<FixedIp> = vec![];
        // Addresses named outright first: what is left over may serve those who only named a subnet.
        for wanted in wanted.iter().filter(|w| w.ip.is_some()).chain(wanted.iter().filter(|w| w.ip.is_none())) {
            let fixed = match (wanted.subnet, wanted.ip) {
                (None, None) => return Err(invalid_input("IP allocation requires subnet_id or ip_address")),
                (Some(subnet), None) => self.of_subnet(self.on_network(&subnet)?, &given, taken)?,
                (subnet, Some(ip)) => self.this_one(subnet, ip)?,
            };
            if given.contains(&fixed) {
                return Err(Refusal::new(
                    Class::Invalid,
                    "HTTPBadRequest",
                    format!("Invalid input for fixed_ips. Reason: Duplicate IP address '{}'.", fixed.ip),
                ));
            }
            given.push(self.take(fixed, taken)?);
        }
        self.add_own(&mut given, taken)?;
        Ok(given)
    }

    fn on_network(&self, id: &SubnetId) -> Result<&Arc<Subnet>, Refusal> {
        self.cloud.subnets.get(id).filter(|s| s.network == self.network).ok_or_else(|| {
            invalid_input(format_args!("Failed to create port on network {}, because fixed_ips included invalid subnet {id}", self.network))
        })
    }

    /// Any address of a subnet; one that the port has already, if it has.
    fn of_subnet(&self, subnet: &Subnet, given: &[FixedIp], taken: &mut Taken) -> Result<FixedIp, Refusal> {
        if let Some(held) = self.held.iter().find(|h| h.subnet == subnet.id && !given.contains(h)) {
            return Ok(*held);
        }
        if is_auto_subnet(subnet)
            && !self.is_router()
            && let Some(ip) = eui64(&subnet.cidr, &self.mac)
        {
            return Ok(FixedIp { subnet: subnet.id, ip });
        }
        self.next_free(subnet, taken).ok_or_else(|| self.exhausted())
    }

    fn this_one(&self, subnet: Option<SubnetId>, ip: IpAddr) -> Result<FixedIp, Refusal> {
        let subnet = match subnet {
            Some(id) => {
                let subnet = self.on_network(&id)?;
                if !is_host(&subnet.cidr, ip) {
                    let message = format!("IP address {ip} is not a valid IP for the specified subnet.");
                    return Err(Refusal::new(Class::Invalid, "InvalidIpForSubnet", message));
                }
                subnet
            }
            None => self.subnets().find(|s| is_host(&s.cidr, ip)).ok_or_else(|| {
                let message = format!("IP address {ip} is not a valid IP for any of the subnets on the specified network.");
                Refusal::new(Class::Invalid, "InvalidIpForNetwork", message)
            })?,
        };
        let fixed = FixedIp { subnet: subnet.id, ip };
        let own = eui64(&subnet.cidr, &self.mac) == Some(ip) || self.held.contains(&fixed);
        if is_auto_subnet(subnet) && !self.is_router() && !own {
            let message = format!(
                "Invalid input for operation: IPv6 address {ip} cannot be directly assigned to a port on subnet {} as the subnet is configured for automatic addresses.",
                subnet.id
            );
            return Err(Refusal::new(Class::Invalid, "AllocationOnAutoAddressSubnet", message));
        }
        Ok(fixed)
    }

    /// The lowest address of the subnet's pools that nobody has.
    fn next_free(&self, subnet: &Subnet, taken: &mut Taken) -> Option<FixedIp> {
        for (i, pool) in subnet.attributes.allocation_pools.iter().enumerate() {
            let reached = taken.reached.get(&(subnet.id, i)).copied();
            let (mut at, end) = (reached.unwrap_or_else(|| number(pool.start)), number(pool.end));
            while let Some(n) = self.cloud.ports.first_free(&subnet.id, at).filter(|n| *n <= end) {
                let ip = address(n, pool.start)?;
                if !taken.addresses.contains(&(subnet.id, ip)) {
                    taken.reached.insert((subnet.id, i), n);
                    return Some(FixedIp { subnet: subnet.id, ip });
                }
                at = n.checked_add(1)?;
            }
        }
        None
    }

    fn take(&self, fixed: FixedIp, taken: &mut Taken) -> Result<FixedIp, Refusal> {
        let ours = self.held.contains(&fixed);
        let theirs = !ours && self.cloud.ports.owner_of_address(&fixed.subnet, &fixed.ip).is_some();
        if theirs || !taken.addresses.insert((fixed.subnet, fixed.ip)) {
            let message = format!("IP address {} already allocated in subnet {}", fixed.ip, fixed.subnet);
            return Err(Refusal::new(Class::Conflict, "IpAddressAlreadyAllocated", message));
        }
        Ok(fixed)
    }

    fn exhausted(&self) -> Refusal {
        let message = format!("No more IP addresses available on network {}.", self.network);
        Refusal::new(Class::Conflict, "IpAddressGenerationFailure", message)
    }
}
