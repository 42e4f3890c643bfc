//! The rules of subnets.
use super::super::network::tests::{ALICE, create as network};
use super::*;
use crate::testing::given;
use uuid::Uuid;

pub fn subnet(n: u128, cidr: &str) -> CreateSubnet {
    CreateSubnet {
        id: SubnetId(Uuid::from_u128(n)),
        project: ALICE,
        scope: Scope::Project(ALICE),
        network: NetworkId(Uuid::from_u128(1)),
        cidr: cidr.parse().unwrap(),
        gateway: Gateway::First,
        pools: None,
        ipv6_address_mode: None,
        ipv6_ra_mode: None,
        attributes: SubnetAttributes {
            name: String::new(),
            description: String::new(),
            gateway_ip: None,
            enable_dhcp: true,
            allocation_pools: vec![],
            dns_nameservers: vec![],
            host_routes: vec![],
            dns_publish_fixed_ip: false,
            service_types: vec![],
            tags: vec![],
        },
    }
}
pub fn pool(start: &str, end: &str) -> Pool {
    Pool { start: start.parse().unwrap(), end: end.parse().unwrap() }
}
pub fn slaac(n: u128, cidr: &str) -> CreateSubnet {
    let mode = Some("slaac".to_owned());
    CreateSubnet { ipv6_address_mode: mode.clone(), ipv6_ra_mode: mode, ..subnet(n, cidr) }
}

#[test]
fn the_gateway_is_the_first_address_and_the_pool_the_rest() {
    let cloud = given([]).and(network(1)).and(subnet(2, "10.0.0.0/24")).cloud;
    let made = &cloud.subnets.get(&SubnetId(Uuid::from_u128(2))).unwrap().attributes;
    assert_eq!(made.gateway_ip, Some([10, 0, 0, 1].into()));
    assert_eq!(made.allocation_pools, [pool("10.0.0.2", "10.0.0.254")]);
}

#[test]
fn subnets_of_one_network_do_not_overlap_those_of_two_may() {
    let given = || given([]).and(network(1)).and(network(5)).and(subnet(2, "10.0.0.0/24"));
    given().when(subnet(3, "10.0.0.128/25")).refused(Class::Invalid, "overlaps with another subnet");
    given().when(subnet(3, "10.0.0.0/16")).refused(Class::Invalid, "overlaps with another subnet");
    given().when(subnet(3, "10.0.1.0/24")).accepted();
    given().when(CreateSubnet { network: NetworkId(Uuid::from_u128(5)), ..subnet(3, "10.0.0.0/24") }).accepted();
}

#[test]
fn another_projects_network_is_not_found() {
    let ask = CreateSubnet { scope: Scope::Project(super::super::network::tests::BOB), ..subnet(2, "10.0.0.0/24") };
    given([]).and(network(1)).when(ask).refused(Class::NotFound, "could not be found");
}

#[test]
fn ipv6_modes_must_agree_and_autoconfiguration_takes_a_64() {
    let given = || given([]).and(network(1));
    given().when(slaac(2, "fd00::/64")).accepted();
    given().when(slaac(2, "fd00::/80")).refused(Class::Invalid, "requires the prefix to be /64");
    given()
        .when(CreateSubnet { ipv6_ra_mode: Some("slaac".into()), ..subnet(2, "10.0.0.0/24") })
        .refused(Class::Invalid, "ip_version is 4");
    let differ = CreateSubnet { ipv6_ra_mode: Some("dhcpv6-stateful".into()), ..slaac(2, "fd00::/64") };
    given().when(differ).refused(Class::Invalid, "they must be the same value");
}

#[test]
fn a_moved_gateway_may_not_be_in_a_pool() {
    let update = |gateway: &str| UpdateSubnet {
        id: SubnetId(Uuid::from_u128(2)),
        changes: SubnetChanges { gateway: Some(Some(gateway.parse().unwrap())), ..Default::default() },
        revision: None,
    };
    let given = || given([]).and(network(1)).and(subnet(2, "10.0.0.0/24"));
    given().when(update("10.0.0.7")).refused(Class::Conflict, "conflicts with allocation pool 10.0.0.2-10.0.0.254");
    given().when(update("10.0.0.255")).refused(Class::Invalid, "Gateway is not valid on subnet");
}

#[test]
fn the_networks_mtu_must_carry_the_version_of_ip() {
    use super::super::network::{CreateNetwork, NetworkChanges, UpdateNetwork};
    let small = CreateNetwork { mtu: Some(1279), ..network(1) };
    given([])
        .and(small.clone())
        .and(subnet(2, "10.0.0.0/24"))
        .when(subnet(3, "fd00::/64"))
        .refused(Class::Conflict, "below the minimum of 1280");
    let shrink = |mtu| UpdateNetwork {
        id: NetworkId(Uuid::from_u128(1)),
        changes: NetworkChanges { mtu: Some(mtu), ..Default::default() },
        revision: None,
    };
    given([])
        .and(network(1))
        .and(subnet(2, "10.0.0.0/24"))
        .and(shrink(68))
        .when(shrink(67))
        .refused(Class::Conflict, "below the minimum of 68");
}

#[test]
fn a_change_of_a_subnet_is_one_of_its_network() {
    let cloud = given([]).and(network(1)).and(subnet(2, "10.0.0.0/24")).cloud;
    assert_eq!(cloud.networks.get(&NetworkId(Uuid::from_u128(1))).unwrap().revision, 2);
}

#[test]
fn a_cidr_with_host_bits_is_refused() {
    given([]).and(network(1)).when(subnet(2, "10.0.0.5/24")).refused(Class::Invalid, "10.0.0.0/24 is recommended");
}
