//! The rules of ports and of giving addresses.
use super::super::network::tests::{ALICE, BOB, create as network};
use super::super::network::{CreateNetwork, DeleteNetwork};
use super::super::pools::is_host;
use super::super::security_group::tests::{group, ids};
use super::super::subnet::tests::{pool, slaac, subnet as with_dhcp};
use super::super::subnet::{CreateSubnet, DeleteSubnet};
use super::*;
use crate::testing::{Given, given};
use proptest::prelude::*;
use std::net::IpAddr;
use strata_events::SubnetId;
use uuid::Uuid;

/// All its addresses are for the ports of the test.
fn subnet(n: u128, cidr: &str) -> CreateSubnet {
    let mut ask = with_dhcp(n, cidr);
    ask.attributes.enable_dhcp = false;
    ask
}
fn port(n: u128) -> NewPort {
    let mac = MacAddress([0xfa, 0x16, 0x3e, 0, (n >> 8) as u8, n as u8]);
    NewPort::plain(PortId(Uuid::from_u128(n)), ALICE, Scope::Project(ALICE), NetworkId(Uuid::from_u128(1)), mac, ids(0xdef))
}
fn create(n: u128) -> CreatePort {
    CreatePort(port(n))
}
fn wanted(subnet: Option<u128>, ip: Option<&str>) -> WantedIp {
    WantedIp { subnet: subnet.map(|n| SubnetId(Uuid::from_u128(n))), ip: ip.map(|ip| ip.parse().unwrap()) }
}
fn with_ips(n: u128, ips: &[WantedIp]) -> CreatePort {
    CreatePort(NewPort { fixed_ips: Some(ips.to_vec()), ..port(n) })
}
fn ips(cloud: &Cloud, n: u128) -> Vec<String> {
    cloud.ports.get(&PortId(Uuid::from_u128(n))).unwrap().attributes.fixed_ips.iter().map(|f| f.ip.to_string()).collect()
}
fn small() -> Given {
    given([]).and(network(1)).and(subnet(2, "10.0.0.0/29"))
}

#[test]
fn addresses_are_given_in_order_until_none_is_left() {
    let full = (10..15).fold(small(), |g, n| g.and(create(n)));
    assert_eq!(ips(&full.cloud, 10), ["10.0.0.2"]);
    assert_eq!(ips(&full.cloud, 14), ["10.0.0.6"]);
    let full = full.cloud;
    crate::testing::on(full.clone()).when(create(15)).refused(Class::Conflict, "No more IP addresses available on network");
    let delete = DeletePort { id: PortId(Uuid::from_u128(12)), revision: None };
    let cloud = crate::testing::on(full).and(delete).when(create(15)).accepted();
    assert_eq!(ips(&cloud, 15), ["10.0.0.4"]);
}

#[test]
fn an_address_asked_for_must_be_valid_and_free() {
    let ask = |subnet, ip| with_ips(10, &[wanted(subnet, ip)]);
    assert_eq!(ips(&small().when(ask(None, Some("10.0.0.1"))).accepted(), 10), ["10.0.0.1"]);
    small().when(ask(Some(2), Some("10.0.1.1"))).refused(Class::Invalid, "not a valid IP for the specified subnet");
    small().when(ask(Some(2), Some("10.0.0.7"))).refused(Class::Invalid, "not a valid IP for the specified subnet");
    small().when(ask(None, Some("192.0.2.1"))).refused(Class::Invalid, "any of the subnets");
    small().when(ask(Some(99), None)).refused(Class::Invalid, "included invalid subnet");
    small().when(ask(None, None)).refused(Class::Invalid, "requires subnet_id or ip_address");
    let again = with_ips(11, &[wanted(None, Some("10.0.0.3"))]);
    small().and(ask(None, Some("10.0.0.3"))).when(again).refused(Class::Conflict, "already allocated");
    small().when(with_ips(10, &[wanted(None, Some("10.0.0.3")), wanted(Some(2), Some("10.0.0.3"))])).refused(Class::Invalid, "Duplicate");
    assert_eq!(
        ips(&small().when(with_ips(10, &[wanted(Some(2), None), wanted(None, Some("10.0.0.2"))])).accepted(), 10),
        ["10.0.0.2", "10.0.0.3"]
    );
    assert!(ips(&small().when(with_ips(10, &[])).accepted(), 10).is_empty());
}

#[test]
fn a_port_gets_one_address_of_each_family_and_those_its_guest_gives_itself() {
    let cloud = small().and(subnet(3, "fd00::/64")).and(slaac(4, "fd01::/64")).and(subnet(5, "10.0.1.0/24")).when(create(10)).accepted();
    assert_eq!(ips(&cloud, 10), ["10.0.0.2", "fd00::2", "fd01::f816:3eff:fe00:a"]);
    let cloud = small().and(create(10)).when(slaac(4, "fd01::/64")).accepted();
    assert_eq!(ips(&cloud, 10), ["10.0.0.2", "fd01::f816:3eff:fe00:a"]);
    small().and(slaac(4, "fd01::/64")).when(with_ips(10, &[wanted(None, Some("fd01::5"))])).refused(Class::Invalid, "automatic addresses");
}

#[test]
fn several_ports_of_one_decision_do_not_collide() {
    let cloud = small().cloud;
    let mut taken = Taken::default();
    let mut given = vec![];
    for n in 10..15 {
        let same_mac = NewPort { mac: WantedMac::From(MacAddress([0xfa, 0x16, 0x3e, 0xff, 0xff, 0xff])), ..port(n) };
        given.extend(plan_port(&cloud, &same_mac, Timestamp(0), &mut taken).unwrap());
    }
    assert_eq!(plan_port(&cloud, &port(15), Timestamp(0), &mut taken).unwrap_err().kind, "IpAddressGenerationFailure");
    let groups = given.iter().filter(|e| e.kind() == "security_group").count();
    assert_eq!((groups, given.len()), (1, 6), "one default group, five ports");
    let mut scratch = cloud;
    for event in given {
        crate::testing::record(&mut scratch, event, Timestamp(0));
    }
    assert_eq!(scratch.ports.count(&ALICE), 5);
}

#[test]
fn a_mac_has_one_owner_on_its_network() {
    let mac = MacAddress([0xfa, 0x16, 0x3e, 0, 0, 10]);
    let same = CreatePort(NewPort { mac: WantedMac::This(mac), ..port(11) });
    small().and(create(10)).when(same).refused(Class::Conflict, "The mac address fa:16:3e:00:00:0a is in use.");
}

#[test]
fn a_port_without_port_security_has_no_groups_and_no_pairs() {
    let off = || NewPort { port_security_enabled: Some(false), ..port(10) };
    let cloud = small().when(CreatePort(off())).accepted();
    assert!(cloud.ports.get(&PortId(Uuid::from_u128(10))).unwrap().attributes.security_groups.is_empty());
    let grouped = NewPort { security_groups: Some(vec![SecurityGroupId(Uuid::from_u128(7))]), ..off() };
    small().and(group(7, "web")).when(CreatePort(grouped)).refused(Class::Invalid, "Port security must be enabled");
    let paired = NewPort { allowed_address_pairs: vec![WantedPair { ip_address: "10.0.0.9".into(), mac_address: None }], ..off() };
    small().when(CreatePort(paired)).refused(Class::Conflict, "allowed address pairs");
    let disable = PortChanges { port_security_enabled: Some(false), ..Default::default() };
    let update = UpdatePort { id: PortId(Uuid::from_u128(10)), scope: Scope::All, changes: disable.clone(), revision: None };
    small().and(create(10)).when(update.clone()).refused(Class::Conflict, "until security group is removed");
    let both = PortChanges { security_groups: Some(vec![]), ..disable };
    small().and(create(10)).when(UpdatePort { changes: both, ..update }).accepted();
}

#[test]
fn a_port_keeps_its_addresses_when_asked_for_more() {
    let more = PortChanges { fixed_ips: Some(vec![wanted(Some(2), None), wanted(Some(2), None)]), ..Default::default() };
    let update = UpdatePort { id: PortId(Uuid::from_u128(10)), scope: Scope::All, changes: more, revision: None };
    let cloud = small().and(create(9)).and(create(10)).when(update).accepted();
    assert_eq!(ips(&cloud, 10), ["10.0.0.3", "10.0.0.4"]);
}

#[test]
fn what_is_in_use_stays() {
    let given = || small().and(create(10));
    given().when(DeleteNetwork { id: NetworkId(Uuid::from_u128(1)), revision: None }).refused(Class::Conflict, "ports still in use");
    given()
        .when(DeleteSubnet { id: SubnetId(Uuid::from_u128(2)), revision: None })
        .refused(Class::Conflict, "One or more ports have an IP");
    let id = ids(0xdef).group;
    given().when(security_group::DeleteSecurityGroup { id, admin: true, revision: None }).refused(Class::Conflict, "in use");
}

#[test]
fn another_projects_network_takes_ports_only_when_shared() {
    let foreign = || NewPort { project: BOB, scope: Scope::Project(BOB), ..port(10) };
    small().when(CreatePort(foreign())).refused(Class::NotFound, "Network 00000000-0000-0000-0000-000000000001 could not be found.");
    let mut shared: CreateNetwork = network(1);
    shared.attributes.shared = true;
    given([]).and(shared).when(CreatePort(foreign())).accepted();
}

#[test]
fn an_empty_cloud_is_left_when_all_is_deleted() {
    let cloud = small()
        .and(create(10))
        .and(DeletePort { id: PortId(Uuid::from_u128(10)), revision: None })
        .and(DeleteNetwork { id: NetworkId(Uuid::from_u128(1)), revision: None })
        .cloud;
    assert_eq!((&cloud.ports, &cloud.networks, &cloud.subnets), (&Default::default(), &Default::default(), &Default::default()));
}

#[test]
fn a_16_is_filled_in_order() {
    let mut cloud = given([]).and(network(1)).and(subnet(2, "10.0.0.0/16")).cloud;
    let mut taken = Taken::default();
    let limits = std::collections::BTreeMap::from([("network.port".to_owned(), -1)]);
    crate::testing::record(&mut cloud, strata_events::quota::QuotaEvent::QuotaSet { id: ALICE, limits }.into(), Timestamp(0));
    let mut last = None;
    for n in 0..20_000u128 {
        let events = plan_port(&cloud, &port(n), Timestamp(0), &mut taken).unwrap();
        last = events.into_iter().next_back();
    }
    let Some(Event::Port(PortEvent::PortCreated { attributes, .. })) = last else { panic!() };
    assert_eq!(attributes.fixed_ips[0].ip, IpAddr::from([10, 0, 78, 33]));
}

proptest! {
    /// Whatever was taken, freed and asked for: an address given is free, in the subnet and in a pool, and one is given if and
    /// only if one is free.
    #[test]
    fn an_address_is_given_iff_one_is_free(
        pools in prop::sample::select(vec![
            vec![("10.0.0.2", "10.0.0.6")], vec![("10.0.0.3", "10.0.0.4"), ("10.0.0.9", "10.0.0.12")], vec![("10.0.0.14", "10.0.0.14")],
        ]),
        ops in prop::collection::vec((0u8..3, 1u8..15), 1..40),
    ) {
        let pools: Vec<_> = pools.into_iter().map(|(a, b)| pool(a, b)).collect();
        let cidr = "10.0.0.0/28".parse().unwrap();
        let mut given = given([]).and(network(1)).and(CreateSubnet { pools: Some(pools.clone()), ..subnet(2, "10.0.0.0/28") });
        let in_pool = |ip: IpAddr| pools.iter().any(|p| p.start <= ip && ip <= p.end);
        let free = |cloud: &Cloud| (1..15u8).map(|n| IpAddr::from([10, 0, 0, n]))
            .filter(|ip| in_pool(*ip) && cloud.ports.owner_of_address(&SubnetId(Uuid::from_u128(2)), ip).is_none()).count();
        for (i, (op, n)) in ops.into_iter().enumerate() {
            let before = free(&given.cloud);
            let id = 100 + i as u128;
            let cloud = given.cloud.clone();
            match op {
                0 => {
                    let when = given.when(create(id));
                    prop_assert_eq!(when.outcome.is_ok(), before > 0);
                    if when.outcome.is_ok() {
                        let ip: IpAddr = ips(&when.cloud, id)[0].parse().unwrap();
                        prop_assert!(in_pool(ip) && is_host(&cidr, ip));
                        prop_assert_eq!(free(&when.cloud), before - 1);
                    }
                    given = crate::testing::on(when.cloud);
                }
                1 => {
                    let ip = format!("10.0.0.{n}");
                    let owned = cloud.ports.owner_of_address(&SubnetId(Uuid::from_u128(2)), &ip.parse().unwrap()).is_some();
                    let when = given.when(with_ips(id, &[wanted(None, Some(&ip))]));
                    prop_assert_eq!(when.outcome.is_ok(), !owned);
                    given = crate::testing::on(when.cloud);
                }
                _ => {
                    let victim = cloud.ports.values().nth(usize::from(n) % cloud.ports.len().max(1)).map(|p| p.id);
                    given = match victim {
                        Some(id) => given.and(DeletePort { id, revision: None }),
                        None => given,
                    };
                }
            }
        }
    }
}
