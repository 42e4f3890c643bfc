//! The rules of subnets.
use super::super::network::tests::{ALICE, create as network};
use super::*;
use crate::testing::given;
use strata_events::PortId;
use strata_events::port::MacAddress;
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
        distributed: seed(n),
    }
}
pub fn seed(n: u128) -> PortSeed {
    PortSeed { id: PortId(Uuid::from_u128(0xd15_0000 + n)), mac: MacAddress([0xfa, 0x16, 0x3e, 0xd, 0xd, 0xd]) }
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
        distributed: seed(2),
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

fn served(cloud: &Cloud) -> Option<Vec<String>> {
    let port = cloud.ports.distributed(&NetworkId(Uuid::from_u128(1)))?;
    Some(port.attributes.fixed_ips.iter().map(|f| f.ip.to_string()).collect())
}
fn dhcp(n: u128, enable: bool) -> UpdateSubnet {
    let changes = SubnetChanges { enable_dhcp: Some(enable), ..Default::default() };
    UpdateSubnet { id: SubnetId(Uuid::from_u128(n)), changes, revision: None, distributed: seed(9) }
}

#[test]
fn a_network_has_one_distributed_port_with_an_address_in_each_subnet_with_dhcp() {
    let two = given([]).and(network(1)).and(subnet(2, "10.0.0.0/24")).and(subnet(3, "10.0.1.0/24"));
    assert_eq!(served(&two.cloud), Some(vec!["10.0.0.2".into(), "10.0.1.2".into()]));
    assert_eq!(two.cloud.ports.count(&ALICE), 0, "it counts against no quota");
    let one = two.and(dhcp(2, false));
    assert_eq!(served(&one.cloud), Some(vec!["10.0.1.2".into()]));
    let none = one.and(dhcp(3, false));
    assert_eq!(served(&none.cloud), None);
    let again = none.and(dhcp(2, true));
    assert_eq!(served(&again.cloud), Some(vec!["10.0.0.2".into()]));
    let gone = again.and(DeleteSubnet { id: SubnetId(Uuid::from_u128(2)), revision: None });
    assert_eq!(served(&gone.cloud), None);
}

#[test]
fn what_belongs_to_the_network_goes_with_it_and_not_by_hand() {
    use super::super::network::DeleteNetwork;
    use super::super::port::{DeletePort, PortChanges, UpdatePort};
    let given = || given([]).and(network(1)).and(subnet(2, "10.0.0.0/24"));
    let id = given().cloud.ports.distributed(&NetworkId(Uuid::from_u128(1))).unwrap().id;
    given().when(DeletePort { id, revision: None }).refused(Class::Conflict, "not by itself");
    let changes = PortChanges { fixed_ips: Some(vec![]), ..Default::default() };
    given().when(UpdatePort { id, scope: Scope::All, changes, revision: None }).refused(Class::Conflict, "not by itself");
    let cloud = given().and(DeleteNetwork { id: NetworkId(Uuid::from_u128(1)), revision: None }).cloud;
    assert_eq!(cloud.ports.values().count(), 0);
}

#[test]
fn a_subnet_without_room_gets_dhcp_only_when_it_is_not_asked_for() {
    let full = || CreateSubnet { pools: Some(vec![]), ..subnet(2, "10.0.0.0/24") };
    assert_eq!(served(&given([]).and(network(1)).and(full()).cloud), Some(vec![]));
    let mut off = full();
    off.attributes.enable_dhcp = false;
    given([]).and(network(1)).and(off).when(dhcp(2, true)).refused(Class::Conflict, "No more IP addresses");
}
