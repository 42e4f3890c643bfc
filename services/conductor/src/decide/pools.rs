//! Allocation pools and gateways: the arithmetic of a subnet's range.

use super::network::invalid_input;
use crate::{Class, Refusal};
use ipnet::IpNet;
use std::net::IpAddr;
use strata_events::subnet::Pool;
use strata_projections::cloud::addresses::{address, number};

/// The first and the last number that a host may have: not the network's and the broadcast address of IPv4, not the
/// routers' anycast address of IPv6.
pub fn hosts(cidr: &IpNet) -> (u128, u128) {
    let (first, last) = (number(cidr.network()), number(cidr.broadcast()));
    if cidr.max_prefix_len() - cidr.prefix_len() < 2 {
        return (first, last);
    }
    match cidr {
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(_) => (first + 1, last),
    }
}

/// Whether a host may have this address.
pub fn is_host(cidr: &IpNet, ip: IpAddr) -> bool {
    let (first, last) = hosts(cidr);
    cidr.contains(&ip) && (first..=last).contains(&number(ip))
}

/// The default gateway.
pub fn first_host(cidr: &IpNet) -> Option<IpAddr> {
    let first = number(cidr.network()) + 1;
    address(first, cidr.addr()).filter(|ip| cidr.contains(ip))
}

/// A gateway may lie outside of the subnet, but may not be its network or broadcast address.
pub fn check_gateway(cidr: &IpNet, ip: IpAddr) -> Result<(), Refusal> {
    let reserved = cidr.contains(&ip) && !is_host(cidr, ip) && matches!(cidr, IpNet::V4(_));
    if reserved || ip.is_unspecified() || ip.is_multicast() { Err(invalid_input("Gateway is not valid on subnet")) } else { Ok(()) }
}

/// Every address but the gateway's.
pub fn default_pools(cidr: &IpNet, gateway: Option<IpAddr>) -> Vec<Pool> {
    let (first, last) = hosts(cidr);
    let pool = |start: u128, end: u128| match (address(start, cidr.addr()), address(end, cidr.addr())) {
        (Some(a), Some(b)) if start <= end => Some(Pool { start: a, end: b }),
        _ => None,
    };
    match gateway.filter(|ip| cidr.contains(ip)).map(number).filter(|g| (first..=last).contains(g)) {
        None => pool(first, last).into_iter().collect(),
        Some(g) => [g.checked_sub(1).and_then(|end| pool(first, end)), g.checked_add(1).and_then(|start| pool(start, last))]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// The pools in order, if they lie inside the subnet, apart from each other and from the gateway.
pub fn check_pools(cidr: &IpNet, gateway: Option<IpAddr>, pools: &[Pool]) -> Result<Vec<Pool>, Refusal> {
    let show = |p: &Pool| format!("{}-{}", p.start, p.end);
    let refuse = |class, kind, message: String| Err(Refusal::new(class, kind, message));
    let mut sorted = pools.to_vec();
    sorted.sort_by_key(|p| number(p.start));
    let (first, last) = hosts(cidr);
    for pool in &sorted {
        let family = cidr.addr().is_ipv4();
        if pool.start.is_ipv4() != family || pool.end.is_ipv4() != family || number(pool.end) < number(pool.start) {
            return refuse(Class::Invalid, "InvalidAllocationPool", format!("The allocation pool {} is not valid.", show(pool)));
        }
        if number(pool.start) < first || number(pool.end) > last {
            return refuse(
                Class::Invalid,
                "OutOfBoundsAllocationPool",
                format!("The allocation pool {} spans beyond the subnet cidr {cidr}.", show(pool)),
            );
        }
        let inside = |ip: &IpAddr| ip.is_ipv4() == family && (number(pool.start)..=number(pool.end)).contains(&number(*ip));
        if let Some(ip) = gateway.filter(inside) {
            return refuse(
                Class::Conflict,
                "GatewayConflictWithAllocationPools",
                format!("Gateway ip {ip} conflicts with allocation pool {}.", show(pool)),
            );
        }
    }
    for pair in sorted.windows(2) {
        if number(pair[1].start) <= number(pair[0].end) {
            return refuse(
                Class::Conflict,
                "OverlappingAllocationPools",
                format!("Found overlapping allocation pools: {} {} for subnet {cidr}.", show(&pair[0]), show(&pair[1])),
            );
        }
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(start: &str, end: &str) -> Pool {
        Pool { start: start.parse().unwrap(), end: end.parse().unwrap() }
    }
    fn net(s: &str) -> IpNet {
        s.parse().unwrap()
    }

    #[test]
    fn default_pools_leave_the_gateway_out() {
        let gateway = |s: &str| Some(s.parse().unwrap());
        assert_eq!(default_pools(&net("10.0.0.0/29"), gateway("10.0.0.3")), [pool("10.0.0.1", "10.0.0.2"), pool("10.0.0.4", "10.0.0.6")]);
        assert_eq!(default_pools(&net("10.0.0.0/29"), gateway("10.0.0.6")), [pool("10.0.0.1", "10.0.0.5")]);
        assert_eq!(default_pools(&net("10.0.0.0/29"), None), [pool("10.0.0.1", "10.0.0.6")]);
        assert_eq!(default_pools(&net("fd00::/64"), gateway("fd00::1")), [pool("fd00::2", "fd00::ffff:ffff:ffff:ffff")]);
        assert_eq!(default_pools(&net("10.0.0.0/32"), None), [pool("10.0.0.0", "10.0.0.0")]);
        assert_eq!(default_pools(&net("10.0.0.0/30"), gateway("192.0.2.1")), [pool("10.0.0.1", "10.0.0.2")]);
        assert_eq!(default_pools(&net("::/1"), None).len(), 1);
    }

    #[test]
    fn bad_pools_are_refused_each_with_its_own_words() {
        let check = |pools: &[Pool]| check_pools(&net("10.0.0.0/24"), Some([10, 0, 0, 1].into()), pools).map_err(|r| r.kind);
        assert_eq!(check(&[pool("10.0.0.9", "10.0.0.5")]), Err("InvalidAllocationPool"));
        assert_eq!(check(&[pool("fd00::1", "fd00::2")]), Err("InvalidAllocationPool"));
        assert_eq!(check(&[pool("10.0.0.9", "10.0.1.5")]), Err("OutOfBoundsAllocationPool"));
        assert_eq!(check(&[pool("10.0.0.9", "10.0.0.255")]), Err("OutOfBoundsAllocationPool"));
        assert_eq!(check(&[pool("10.0.0.1", "10.0.0.5")]), Err("GatewayConflictWithAllocationPools"));
        assert_eq!(check(&[pool("10.0.0.5", "10.0.0.9"), pool("10.0.0.9", "10.0.0.20")]), Err("OverlappingAllocationPools"));
        assert_eq!(
            check(&[pool("10.0.0.9", "10.0.0.9"), pool("10.0.0.2", "10.0.0.8")]),
            Ok(vec![pool("10.0.0.2", "10.0.0.8"), pool("10.0.0.9", "10.0.0.9")])
        );
    }
}
