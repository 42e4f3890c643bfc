//! Plugs for the tests of what is made of them.

use proptest::prelude::*;
use std::net::IpAddr;
use strata_events::network::Segment;
use strata_events::port::{DhcpOption, FixedIp, MacAddress};
use strata_events::security_group::{Direction, Ethertype};
use strata_events::subnet::HostRoute;
use strata_events::{NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId};
use strata_projections::plan::port::{PlannedPair, PlannedPlug, PlannedRule, Remote};
use strata_projections::plan::subnet::{PlannedDhcp, PlannedSubnet};
use uuid::Uuid;

pub const V4: SubnetId = SubnetId(Uuid::from_u128(4));
pub const V6: SubnetId = SubnetId(Uuid::from_u128(6));
pub const GROUP: SecurityGroupId = SecurityGroupId(Uuid::from_u128(9));

pub fn port_id(n: u8) -> PortId {
    PortId(Uuid::from_bytes([n; 16]))
}
pub fn mac(n: u8) -> MacAddress {
    MacAddress([0xfa, 0x16, 0x3e, 0, 0, n])
}
fn subnet(id: SubnetId, cidr: &str, gateway: &str, mode: Option<&str>) -> PlannedSubnet {
    PlannedSubnet {
        id,
        cidr: cidr.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        enable_dhcp: true,
        dns_nameservers: vec![],
        host_routes: vec![],
        ipv6_address_mode: mode.map(str::to_owned),
        ipv6_ra_mode: mode.map(str::to_owned),
    }
}

/// Port `n` with an address of each version, and the rules of a default group.
pub fn plug(n: u8) -> PlannedPlug {
    let ips = |last: u8| {
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()]);
        vec![FixedIp { subnet: V4, ip: [10, 0, 0, last].into() }, FixedIp { subnet: V6, ip: v6 }]
    };
    let rule = |direction, ethertype, remote| PlannedRule {
        direction,
        ethertype,
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote,
    };
    PlannedPlug {
        project: ProjectId(Uuid::nil()),
        network: NetworkId(Uuid::from_bytes([0xab; 16])),
        network_revision: 1,
        segment: Segment::Vxlan { vni: 1 },
        mtu: 1450,
        dns_domain: String::new(),
        subnets: vec![subnet(V4, "10.0.0.0/24", "10.0.0.1", None), subnet(V6, "fd00::/64", "fd00::1", Some("dhcpv6-stateful"))],
        dhcp: Some(PlannedDhcp { mac: mac(2), fixed_ips: ips(2) }),
        mac: mac(n),
        fixed_ips: ips(n),
        address_pairs: vec![],
        hostname: Some(format!("guest{n}")),
        extra_dhcp_opts: vec![],
        admin_state_up: true,
        port_security_enabled: true,
        device_id: String::new(),
        device_owner: String::new(),
        stateful: true,
        rules: vec![
            rule(Direction::Egress, Ethertype::V4, Remote::Any),
            rule(Direction::Egress, Ethertype::V6, Remote::Any),
            rule(Direction::Ingress, Ethertype::V4, Remote::Group(GROUP)),
            rule(Direction::Ingress, Ethertype::V6, Remote::Group(GROUP)),
        ],
    }
}

prop_compose! {
    fn net()(v4 in any::<bool>(), bits in any::<u128>(), length in 0u8..=128) -> ipnet::IpNet {
        if v4 {
            ipnet::Ipv4Net::new((bits as u32).into(), length % 33).unwrap().trunc().into()
        } else {
            ipnet::Ipv6Net::new(bits.into(), length).unwrap().trunc().into()
        }
    }
}
prop_compose! {
    fn rule()(
        ingress in any::<bool>(),
        v4 in any::<bool>(),
        protocol in prop::option::of(prop_oneof!["tcp|udp|icmp|icmpv6|ipv6-icmp|sctp|dccp|udplite|vrrp|gre|ah|any|nonsense", "[0-9]{1,3}"]),
        min in prop::option::of(any::<u16>()),
        max in prop::option::of(any::<u16>()),
        remote in prop_oneof![
            Just(Remote::Any),
            net().prop_map(Remote::Prefix),
            (8u128..12).prop_map(|n| Remote::Group(SecurityGroupId(Uuid::from_u128(n)))),
        ],
    ) -> PlannedRule {
        PlannedRule {
            direction: if ingress { Direction::Ingress } else { Direction::Egress },
            ethertype: if v4 { Ethertype::V4 } else { Ethertype::V6 },
            protocol,
            port_range_min: min,
            port_range_max: max,
            remote,
        }
    }
}
prop_compose! {
    /// Any port that the API could have let through, and some that it would not.
    pub fn any_plug(n: u8)(
        rules in prop::collection::vec(rule(), 0..12),
        pairs in prop::collection::vec((any::<u8>(), net()), 0..4),
        secured in any::<bool>(),
        stateful in any::<bool>(),
        hostname in prop::option::of(".{0,20}"),
        domain in ".{0,20}",
        options in prop::collection::vec((".{0,12}", ".{0,20}", any::<bool>()), 0..4),
        routes in prop::collection::vec((net(), any::<u32>()), 0..3),
    ) -> PlannedPlug {
        let mut plug = plug(n);
        plug.subnets[0].host_routes = routes
            .into_iter()
            .filter(|(net, _)| net.addr().is_ipv4())
            .map(|(destination, via)| HostRoute { destination, nexthop: IpAddr::V4(via.into()) })
            .collect();
        PlannedPlug {
            rules,
            address_pairs: pairs.into_iter().map(|(n, net)| PlannedPair { mac: mac(n), net }).collect(),
            port_security_enabled: secured,
            stateful,
            hostname,
            dns_domain: domain,
            extra_dhcp_opts: options
                .into_iter()
                .map(|(opt_name, opt_value, v6)| DhcpOption { opt_name, opt_value, ip_version: if v6 { 6 } else { 4 } })
                .collect(),
            ..plug
        }
    }
}
