//! The rules of security groups.
use super::super::network::tests::{ALICE, BOB};
use super::*;
use crate::testing::given;
use uuid::Uuid;

pub fn ids(n: u128) -> DefaultGroupIds {
    let rule = |i: u128| SecurityGroupRuleId(Uuid::from_u128(n * 1000 + i));
    DefaultGroupIds { group: SecurityGroupId(Uuid::from_u128(n)), rules: [rule(1), rule(2), rule(3), rule(4)] }
}
pub fn group(n: u128, name: &str) -> CreateSecurityGroup {
    let rule = |i: u128| SecurityGroupRuleId(Uuid::from_u128(n * 1000 + i));
    CreateSecurityGroup {
        id: SecurityGroupId(Uuid::from_u128(n)),
        project: ALICE,
        name: name.into(),
        description: String::new(),
        stateful: true,
        rules: [rule(11), rule(12)],
        default_group: ids(0xdef),
    }
}
fn rule(n: u128, protocol: &str, min: Option<i64>, max: Option<i64>) -> AddRule {
    AddRule {
        id: SecurityGroupRuleId(Uuid::from_u128(n)),
        group: SecurityGroupId(Uuid::from_u128(1)),
        project: Some(ALICE),
        direction: Direction::Ingress,
        ethertype: Ethertype::V4,
        protocol: (!protocol.is_empty()).then(|| protocol.into()),
        port_range_min: min,
        port_range_max: max,
        remote_ip_prefix: None,
        remote_group: None,
        description: String::new(),
    }
}

#[test]
fn the_first_group_brings_the_default_group_with_it() {
    let cloud = given([]).when(group(1, "web")).accepted();
    let default = cloud.security_groups.default_of(&ALICE).unwrap();
    assert_eq!((default.id, default.rules.len()), (ids(0xdef).group, 4));
    assert_eq!((cloud.security_groups.count(&ALICE), cloud.security_groups.count_rules(&ALICE)), (2, 6));
    crate::testing::on(cloud).when(EnsureDefaultGroup { project: ALICE, ids: ids(0xfff) }).then([]);
}

#[test]
fn the_default_group_keeps_its_name_and_is_deleted_only_by_admins() {
    let given = || given([]).and(EnsureDefaultGroup { project: ALICE, ids: ids(9) });
    given().when(group(1, "default")).refused(Class::Conflict, "already exists");
    let id = ids(9).group;
    let rename = SecurityGroupChanges { name: Some("other".into()), ..Default::default() };
    given().when(UpdateSecurityGroup { id, changes: rename, revision: None }).refused(Class::Conflict, "Updating default");
    given().when(DeleteSecurityGroup { id, admin: false, revision: None }).refused(Class::Conflict, "Insufficient rights");
    let cloud = given().when(DeleteSecurityGroup { id, admin: true, revision: None }).accepted();
    assert!(cloud.security_groups.default_of(&ALICE).is_none());
    assert_eq!(cloud.security_groups, Default::default());
}

#[test]
fn the_same_rule_twice_is_refused_however_it_is_written() {
    let given = || given([]).and(group(1, "web")).and(rule(100, "tcp", None, None));
    given().when(rule(101, "6", Some(1), Some(65535))).refused(Class::Conflict, "Rule id is 00000000-0000-0000-0000-000000000064");
    let anywhere = AddRule { remote_ip_prefix: Some("0.0.0.0/0".parse().unwrap()), ..rule(102, "tcp", None, None) };
    given().when(anywhere).refused(Class::Conflict, "already exists");
    given().when(rule(103, "tcp", Some(22), Some(22))).accepted();
    given().when(rule(104, "udp", None, None)).accepted();
}

#[test]
fn ports_and_protocol_must_fit() {
    let refused = |ask: AddRule, kind: &str| match given([]).and(group(1, "web")).when(ask).outcome {
        Err(r) => assert_eq!(r.kind, kind),
        Ok(events) => panic!("not refused with {kind}: {events:?}"),
    };
    refused(rule(1, "", Some(1), Some(2)), "SecurityGroupProtocolRequiredWithPorts");
    refused(rule(1, "tcp", Some(9), Some(2)), "SecurityGroupInvalidPortRange");
    refused(rule(1, "tcp", None, Some(2)), "SecurityGroupInvalidPortRange");
    refused(rule(1, "tcp", Some(0), Some(2)), "SecurityGroupInvalidPortValue");
    refused(rule(1, "udp", Some(1), Some(65536)), "SecurityGroupInvalidPortValue");
    refused(rule(1, "icmp", Some(256), None), "SecurityGroupInvalidIcmpValue");
    refused(rule(1, "icmp", None, Some(3)), "SecurityGroupMissingIcmpType");
    refused(rule(1, "gre", Some(1), Some(2)), "SecurityGroupInvalidProtocolForPort");
    refused(rule(1, "bogus", None, None), "SecurityGroupRuleInvalidProtocol");
    refused(rule(1, "256", None, None), "SecurityGroupRuleInvalidProtocol");
    refused(rule(1, "ipv6-icmp", None, None), "SecurityGroupEthertypeConflictWithProtocol");
    let six = AddRule { remote_ip_prefix: Some("fd00::/64".parse().unwrap()), ..rule(1, "tcp", None, None) };
    refused(six, "SecurityGroupRuleParameterConflict");
    let both = AddRule {
        remote_ip_prefix: Some("10.0.0.0/8".parse().unwrap()),
        remote_group: Some(SecurityGroupId(Uuid::from_u128(1))),
        ..rule(1, "tcp", None, None)
    };
    refused(both, "SecurityGroupRemoteGroupAndRemoteIpPrefix");
}

#[test]
fn rules_that_name_a_deleted_group_go_with_it() {
    let naming = AddRule { remote_group: Some(SecurityGroupId(Uuid::from_u128(2))), ..rule(100, "tcp", None, None) };
    let delete = DeleteSecurityGroup { id: SecurityGroupId(Uuid::from_u128(2)), admin: false, revision: None };
    let cloud = given([]).and(group(1, "web")).and(group(2, "db")).and(naming).when(delete).accepted();
    assert!(cloud.security_groups.holding(&SecurityGroupRuleId(Uuid::from_u128(100))).is_none());
    assert_eq!(cloud.security_groups.count_rules(&ALICE), 6);
}

#[test]
fn another_projects_groups_do_not_exist() {
    let foreign = AddRule { project: Some(BOB), ..rule(100, "tcp", None, None) };
    given([]).and(group(1, "web")).when(foreign).refused(Class::NotFound, "does not exist");
}
