use super::*;
use serde_json::{Map, Value, json};
use strata_conductor::testing::given;
use strata_events::host::{HostEvent, Inventory};
use strata_events::instance::{InstanceEvent, InstanceSpec, Size};
use strata_events::server_group::{GroupPolicy, ServerGroupEvent};
use strata_events::{Event, ProjectId, ServerGroupId, UserId};
use uuid::Uuid;

const GROUP: ServerGroupId = ServerGroupId(Uuid::from_u128(7));
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn host(name: &str, memory: u64) -> Event {
    HostEvent::HostJoined {
        id: name.into(),
        public_key: String::new(),
        zone: if name.starts_with("far") { "far" } else { "nova" }.into(),
        inventory: Inventory {
            vcpus: 8,
            memory,
            disk: 1000,
            hypervisor_type: "simulated".into(),
            hypervisor_version: 1,
            cpu_arch: "x86_64".into(),
            host_ip: "10.0.0.1".into(),
        },
    }
    .into()
}
fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}
fn server_with(n: u128, edit: impl FnOnce(&mut InstanceSpec)) -> Event {
    let mut spec = InstanceSpec {
        name: format!("s{n}"),
        description: None,
        hostname: format!("s{n}"),
        size: Size {
            flavor: "1".into(),
            name: "m1".into(),
            vcpus: 1,
            ram: 512,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            extra_specs: Default::default(),
        },
        image: None,
        key_name: None,
        public_key: None,
        metadata: Default::default(),
        tags: vec![],
        ports: vec![],
        own_ports: vec![],
        config_drive: false,
        user_data: None,
        disk_config_auto: false,
        access_ipv4: None,
        access_ipv6: None,
        zone: None,
        wanted_host: None,
        hints: Map::new(),
        group: None,
        reservation: "r-1".into(),
        launch_index: 0,
    };
    edit(&mut spec);
    let deadline = NOW.plus_secs(600);
    InstanceEvent::InstanceRequested { id: id(n), project: ProjectId(Uuid::max()), user: UserId(Uuid::max()), spec, deadline }.into()
}
fn server(n: u128) -> Event {
    server_with(n, |_| {})
}
fn placed(n: u128, host: &str) -> Event {
    InstanceEvent::InstancePlaced { id: id(n), host: host.into(), generation: 1 }.into()
}
fn group(policy: GroupPolicy) -> Event {
    let (project, user) = (ProjectId(Uuid::max()), UserId(Uuid::max()));
    ServerGroupEvent::ServerGroupCreated { id: GROUP, project, user, name: "g".into(), policy, max_server_per_host: None }.into()
}
fn verdicts(events: Vec<Event>) -> Vec<Verdict> {
    schedule(&given(events).cloud, NOW, 1000).into_iter().map(|(_, v)| v).collect()
}
fn place(host: &str) -> Verdict {
    Verdict::Place(host.into())
}
#[track_caller]
fn nowhere(verdict: &Verdict, host: &str, part: &str) {
    match verdict {
        Verdict::Nowhere(hosts) => assert!(hosts.get(host).is_some_and(|why| why.contains(part)), "{hosts:?}"),
        other => panic!("not nowhere: {other:?}"),
    }
}

#[test]
fn the_host_with_the_most_memory_left_wins_and_one_pass_sees_its_own_placements() {
    let found = verdicts(vec![host("a", 2048), host("b", 1536), server(1), server(2), server(3)]);
    assert_eq!(found[0], place("a"));
    // a has 1536 left like b: either, but not both on one
    assert_ne!(found[1], found[2]);
}

#[test]
fn a_full_disabled_or_foreign_host_is_passed_over_with_its_reason() {
    let disabled = HostEvent::HostDisabled { id: "b".into(), reason: None }.into();
    let found =
        verdicts(vec![host("a", 256), host("b", 9999), host("far-c", 9999), disabled, server_with(1, |s| s.zone = Some("nova".into()))]);
    nowhere(&found[0], "a", "memory: 0 MiB used of 256");
    nowhere(&found[0], "b", "is disabled");
    nowhere(&found[0], "far-c", "is in availability zone far, not nova");
}

#[test]
fn a_host_that_is_down_is_waited_for_but_not_forever() {
    let cloud = given([host("a", 2048), HostEvent::HostLost { id: "a".into(), last_seen: NOW }.into(), server(1)]).cloud;
    assert_eq!(schedule(&cloud, NOW, 1), []);
    nowhere(&schedule(&cloud, NOW.plus_secs(PATIENCE_SECS), 1)[0].1, "a", "is down");
}

#[test]
fn who_waits_does_not_hold_up_those_behind() {
    let lost = HostEvent::HostLost { id: "far-a".into(), last_seen: NOW }.into();
    let waiting = (1..=3).map(|n| server_with(n, |s| s.zone = Some("far".into())));
    let events = [host("far-a", 2048), lost, host("b", 2048)].into_iter().chain(waiting).chain([server(4)]);
    assert_eq!(schedule(&given(events).cloud, NOW, 1), [(id(4), place("b"))]);
}

#[test]
fn anti_affinity_keeps_members_apart_within_one_pass() {
    let member = |n| server_with(n, |s| s.group = Some(GROUP));
    let found = verdicts(vec![group(GroupPolicy::AntiAffinity), host("a", 9000), host("b", 9000), member(1), member(2), member(3)]);
    assert_ne!(found[0], found[1]);
    nowhere(&found[2], "a", "anti-affinity");
}

#[test]
fn affinity_keeps_members_together() {
    let member = |n| server_with(n, |s| s.group = Some(GROUP));
    let found = verdicts(vec![group(GroupPolicy::Affinity), host("a", 9000), host("b", 9000), member(1), member(2)]);
    assert_eq!(found[0], found[1]);
}

#[test]
fn soft_policies_prefer_but_do_not_insist() {
    let member = |n| server_with(n, |s| s.group = Some(GROUP));
    let found = verdicts(vec![group(GroupPolicy::SoftAntiAffinity), host("a", 9000), host("b", 2000), member(1), member(2), member(3)]);
    assert_eq!(found[..2], [place("a"), place("b")]);
    assert!(matches!(found[2], Verdict::Place(_)));
}

#[test]
fn hints_name_servers_whose_host_is_wanted_or_not() {
    let hint = |name: &str, of: u128| {
        let (name, value) = (name.to_owned(), json!([id(of)]));
        move |s: &mut InstanceSpec| s.hints = Map::from_iter([(name, value as Value)])
    };
    let events = [host("a", 9000), host("b", 100_000), server(1), placed(1, "a")];
    let with = |e: Event| verdicts(events.iter().cloned().chain([e]).collect());
    assert_eq!(with(server_with(2, hint("same_host", 1))), [place("a")]);
    assert_eq!(with(server_with(2, hint("different_host", 1))), [place("b")]);
}

#[test]
fn the_host_asked_for_is_the_only_one() {
    let found = verdicts(vec![host("a", 1024), host("b", 100_000), server_with(1, |s| s.wanted_host = Some("a".into()))]);
    assert_eq!(found, [place("a")]);
}

#[test]
fn a_thousand_hosts_take_a_thousand_servers_without_overfilling_any() {
    let hosts = (0..1000).map(|n| host(&format!("h{n}"), 1024));
    let found = verdicts(hosts.chain((0..2000).map(server)).collect());
    assert!(found.iter().all(|v| matches!(v, Verdict::Place(_))));
    let mut by_host = HashMap::new();
    for verdict in found {
        if let Verdict::Place(host) = verdict {
            *by_host.entry(host).or_insert(0) += 1;
        }
    }
    assert!(by_host.values().all(|n| *n <= 2));
}
