use super::*;
use crate::Class;
use crate::testing::{Given, given};
use std::collections::BTreeMap;
use strata_events::instance::{InstanceSpec, Size};
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::{MacAddress, PortAttributes};
use strata_events::{NetworkId, ProjectId, Timestamp, UserId};
use uuid::Uuid;

const SERVER: InstanceId = InstanceId(Uuid::from_u128(1));
const OWN: PortId = PortId(Uuid::from_u128(2));
const GIVEN: PortId = PortId(Uuid::from_u128(3));
const NETWORK: NetworkId = NetworkId(Uuid::from_u128(4));
const PROJECT: ProjectId = ProjectId(Uuid::from_u128(5));
const LATER: Timestamp = Timestamp(1_700_000_600_000_000);

fn host(name: &str) -> Event {
    let inventory = Inventory {
        vcpus: 8,
        memory: 16384,
        disk: 100,
        hypervisor_type: "simulated".into(),
        hypervisor_version: 1,
        cpu_arch: "x86_64".into(),
        host_ip: "127.0.0.1".into(),
    };
    HostEvent::HostJoined { id: name.into(), public_key: format!("U{name}"), zone: "nova".into(), inventory }.into()
}

fn port(id: PortId) -> Event {
    let attributes = PortAttributes {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        fixed_ips: vec![],
        security_groups: vec![],
        port_security_enabled: true,
        allowed_address_pairs: vec![],
        extra_dhcp_opts: vec![],
        device_id: SERVER.to_string(),
        device_owner: "compute:nova".into(),
        vnic_type: "normal".into(),
        binding_profile: Default::default(),
        binding_host: None,
        dns_name: String::new(),
        tags: vec![],
    };
    let mac = MacAddress([0xfa, 0x16, 0x3e, 0, 0, id.0.as_u128() as u8]);
    PortEvent::PortCreated { id, project: PROJECT, network: NETWORK, mac, attributes }.into()
}

fn requested() -> Event {
    let size = Size {
        flavor: "1".into(),
        name: "m1.nano".into(),
        vcpus: 1,
        ram: 64,
        disk: 1,
        ephemeral: 0,
        swap: 0,
        extra_specs: BTreeMap::new(),
    };
    let spec = InstanceSpec {
        name: "hello".into(),
        description: None,
        hostname: "hello".into(),
        size,
        image: None,
        key_name: None,
        public_key: None,
        metadata: BTreeMap::new(),
        tags: vec![],
        ports: vec![OWN, GIVEN],
        own_ports: vec![OWN],
        config_drive: false,
        user_data: None,
        disk_config_auto: false,
        access_ipv4: None,
        access_ipv6: None,
        zone: None,
        wanted_host: None,
        hints: Default::default(),
        group: None,
        reservation: "r-1".into(),
        launch_index: 0,
    };
    InstanceEvent::InstanceRequested { id: SERVER, project: PROJECT, user: UserId(Uuid::nil()), spec, deadline: LATER }.into()
}

/// A server that h1 builds; h2 is there too.
fn building() -> Vec<Event> {
    let attributes = NetworkAttributes {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        shared: false,
        external: false,
        is_default: false,
        port_security_enabled: true,
        mtu: 1450,
        dns_domain: String::new(),
        availability_zone_hints: vec![],
        tags: vec![],
    };
    let mut events = vec![
        host("h1"),
        host("h2"),
        NetworkEvent::NetworkCreated { id: NETWORK, project: PROJECT, segment: Segment::Vxlan { vni: 1 }, attributes }.into(),
        port(OWN),
        port(GIVEN),
        requested(),
    ];
    events.extend(events![
        InstanceEvent::InstancePlaced { id: SERVER, host: "h1".into(), generation: 1 },
        PortEvent::PortBound { id: OWN, host: "h1".into() },
        PortEvent::PortBound { id: GIVEN, host: "h1".into() },
    ]);
    events
}
fn and(mut events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Given {
    events.extend(more);
    given(events)
}
fn started() -> Event {
    InstanceEvent::InstanceStarted { id: SERVER, host: "h1".into(), generation: 1 }.into()
}
fn asked(operation: Operation) -> Event {
    InstanceEvent::InstanceOperationRequested { id: SERVER, operation, deadline: LATER }.into()
}
fn by(host: &str, report: Report) -> Observe {
    Observe { host: host.into(), report }
}
fn is(power: Power, asks: u32) -> Observe {
    by("h1", Report::Instance { id: SERVER, generation: 1, power, reboots: 0, asks })
}
fn absent() -> Observe {
    by("h1", Report::InstanceAbsent { id: SERVER, generation: 1 })
}
fn seen(power: Power) -> Event {
    InstanceEvent::InstancePowerObserved { id: SERVER, power }.into()
}
fn done(operation: Operation) -> Event {
    InstanceEvent::InstanceOperationDone { id: SERVER, operation }.into()
}

#[test]
fn a_server_seen_running_is_active_once() {
    and(building(), []).when(is(Power::Running, 0)).then([started()]);
    and(building(), [started()]).when(is(Power::Running, 0)).then([]);
}

#[test]
fn a_server_that_ended_before_anyone_looked_was_started_and_is_stopped() {
    and(building(), []).when(is(Power::Stopped, 0)).then([started(), seen(Power::Stopped)]);
}

#[test]
fn another_host_and_another_generation_say_nothing_about_it() {
    and(building(), []).when(by("h2", Report::Instance { id: SERVER, generation: 1, power: Power::Running, reboots: 0, asks: 0 })).then([]);
    and(building(), []).when(by("h1", Report::Instance { id: SERVER, generation: 0, power: Power::Running, reboots: 0, asks: 0 })).then([]);
    and(building(), [started(), asked(Operation::Delete)]).when(by("h2", Report::InstanceAbsent { id: SERVER, generation: 1 })).then([]);
    and(building(), []).when(by("h2", Report::PortPlugged { id: OWN })).then([]);
    given([]).when(by("h9", Report::PortPlugged { id: OWN })).refused(Class::NotFound, "h9");
}

#[test]
fn an_operation_is_done_when_the_host_has_seen_to_it() {
    let stop = || and(building(), [started(), asked(Operation::Stop)]);
    stop().when(is(Power::Running, 0)).then([]);
    stop().when(is(Power::Stopped, 0)).then([]);
    stop().when(is(Power::Stopped, 1)).then([done(Operation::Stop)]);
    let pause = || and(building(), [started(), asked(Operation::Pause)]);
    pause().when(is(Power::Paused, 1)).then([done(Operation::Pause)]);
    let reason = "The host did what was asked, but the server is stopped now.".to_owned();
    pause()
        .when(is(Power::Stopped, 1))
        .then([InstanceEvent::InstanceOperationFailed { id: SERVER, operation: Operation::Pause, reason }.into(), seen(Power::Stopped)]);
}

#[test]
fn a_reboot_counts() {
    let reboot = || and(building(), [started(), asked(Operation::RebootHard)]);
    let after = |reboots| by("h1", Report::Instance { id: SERVER, generation: 1, power: Power::Running, reboots, asks: 1 });
    reboot().when(after(1)).then([done(Operation::RebootHard)]);
    let cloud = reboot().when(after(0)).accepted();
    assert!(cloud.instances.get(&SERVER).is_some_and(|i| i.fault.is_some()));
}

#[test]
fn a_guest_that_shuts_itself_down_is_stopped() {
    let cloud = and(building(), [started()]).when(is(Power::Stopped, 0)).then([seen(Power::Stopped)]);
    assert!(cloud.instances.get(&SERVER).is_some_and(|i| i.state == State::Stopped && i.wanted == Wanted::Stopped));
}

#[test]
fn what_is_gone_takes_its_own_ports_along_and_frees_the_others() {
    let cloud = and(building(), [started(), asked(Operation::Delete)]).when(absent()).accepted();
    assert!(cloud.instances.is_empty());
    assert!(!cloud.ports.contains(&OWN) && cloud.ports.is_remnant(&"h1".into(), &OWN), "to be unplugged still");
    let given_port = cloud.ports.get(&GIVEN).map(|p| (p.attributes.device_id.clone(), p.binding.clone()));
    assert_eq!(given_port, Some((String::new(), None)));
    assert_eq!(cloud.hosts.get(&"h1".into()).map(|h| h.used.instances), Some(0));
    assert_eq!(absent().decide(&cloud, &context()), Ok(vec![]), "said twice");
}

#[test]
fn absence_that_nobody_asked_for_deletes_nothing() {
    and(building(), [started()]).when(absent()).then([]);
    and(building(), []).when(absent()).then([]);
}

#[test]
fn a_failed_build_is_an_error_and_then_leaves_the_host() {
    let failed = |asks| by("h1", Report::InstanceFailed { id: SERVER, generation: 1, asks, reason: "no disk".into(), power: None });
    let fault = InstanceEvent::InstanceBuildFailed { id: SERVER, reason: "no disk".into() };
    and(building(), []).when(failed(0)).then([fault.clone().into()]);
    and(building(), [fault.clone().into()]).when(failed(0)).then([]);
    let cloud = and(building(), [fault.into()]).when(absent()).accepted();
    assert!(cloud.instances.get(&SERVER).is_some_and(|i| i.state == State::Error && i.host.is_none()));
}

#[test]
fn a_failed_operation_names_its_reason_and_an_old_failure_says_nothing() {
    let failed = |asks| by("h1", Report::InstanceFailed { id: SERVER, generation: 1, asks, reason: "hung".into(), power: None });
    let stop = || and(building(), [started(), asked(Operation::Stop)]);
    stop().when(failed(0)).then([]);
    let fault = InstanceEvent::InstanceOperationFailed { id: SERVER, operation: Operation::Stop, reason: "hung".into() };
    stop().when(failed(1)).then([fault.into()]);
}

#[test]
fn a_failed_reboot_that_left_the_server_off_says_both() {
    let failed = |power| by("h1", Report::InstanceFailed { id: SERVER, generation: 1, asks: 1, reason: "no disk".into(), power });
    let reboot = || and(building(), [started(), asked(Operation::RebootHard)]);
    let fault = InstanceEvent::InstanceOperationFailed { id: SERVER, operation: Operation::RebootHard, reason: "no disk".into() };
    let cloud = reboot().when(failed(Some(Power::Stopped))).then([fault.clone().into(), seen(Power::Stopped)]);
    let i = cloud.instances.get(&SERVER).expect("it is there");
    assert_eq!((i.state, i.wanted), (State::Stopped, Wanted::Stopped), "it can be started again");
    reboot().when(failed(Some(Power::Running))).then([fault.clone().into()]);
    // Given up by its deadline, and then it is heard of.
    let given_up = || and(building(), [started(), asked(Operation::RebootHard), fault.clone().into()]);
    given_up().when(failed(Some(Power::Stopped))).then([seen(Power::Stopped)]);
    given_up().when(failed(None)).then([]);
}

#[test]
fn a_port_is_plugged_once_and_unplugged_once() {
    let plugged = PortEvent::PortPlugged { id: OWN, host: "h1".into() };
    and(building(), []).when(by("h1", Report::PortPlugged { id: OWN })).then([plugged.clone().into()]);
    and(building(), [plugged.into()]).when(by("h1", Report::PortPlugged { id: OWN })).then([]);
    let gone = || by("h1", Report::PortAbsent { id: OWN });
    and(building(), []).when(gone()).then([]);
    let unbound = || and(building(), events![PortEvent::PortUnbound { id: OWN, host: "h1".into() }]);
    let cloud = unbound().when(gone()).then(events![PortEvent::PortUnplugged { id: OWN, host: "h1".into() }]);
    assert_eq!(gone().decide(&cloud, &context()), Ok(vec![]));
}

#[test]
fn a_port_that_cannot_be_made_fails_the_server_that_waits_for_it() {
    let failed = || by("h1", Report::PortFailed { id: OWN, reason: "no bridge".into() });
    let cloud = and(building(), []).when(failed()).accepted();
    let fault = cloud.instances.get(&SERVER).and_then(|i| i.fault.clone()).map(|f| f.message);
    assert_eq!(fault.as_deref(), Some(format!("Port {OWN} could not be made on host h1: no bridge").as_str()));
    assert_eq!(failed().decide(&cloud, &context()), Ok(vec![]), "said twice");
}

/// Anyone may write any server's id into a port of theirs.
#[test]
fn a_port_that_only_says_it_is_a_servers_neither_fails_it_nor_has_its_name() {
    let id = PortId(Uuid::from_u128(9));
    let Event::Port(PortEvent::PortCreated { network, attributes, .. }) = port(id) else { unreachable!() };
    let mac = MacAddress([0xfa, 0x16, 0x3e, 0, 0, 9]);
    let foreign = PortEvent::PortCreated { id, project: ProjectId(Uuid::from_u128(0xbad)), network, mac, attributes };
    let there = || and(building(), events![foreign.clone(), PortEvent::PortBound { id, host: "h1".into() }]);
    let names = |cloud: &Cloud| {
        let items = strata_projections::plan::of_host(cloud, &"h1".into()).into_values();
        let name = |item| match item {
            strata_projections::plan::Item::Port(plan) => Some((plan.id, plan.plug.map(|plug| (plug.hostname, plug.device_id)))),
            _ => None,
        };
        items.filter_map(name).collect::<BTreeMap<_, _>>()
    };
    let hello = Some((Some("hello".to_owned()), SERVER.to_string()));
    assert_eq!(names(&there().cloud), BTreeMap::from([(OWN, hello.clone()), (GIVEN, hello), (id, Some((None, String::new())))]));
    let cloud = there().when(by("h1", Report::PortFailed { id, reason: "mine".into() })).accepted();
    assert!(cloud.instances.get(&SERVER).is_some_and(|i| i.fault.is_none() && i.task == Some(Task::Spawn)));
}

#[test]
fn an_inventory_is_taken_when_it_differs() {
    let report = |vcpus| {
        let Event::Host(HostEvent::HostJoined { inventory, .. }) = host("h1") else { unreachable!() };
        by("h1", Report::Inventory { inventory: Inventory { vcpus, ..inventory } })
    };
    and(building(), []).when(report(8)).then([]);
    let cloud = and(building(), []).when(report(16)).accepted();
    assert_eq!(cloud.hosts.get(&"h1".into()).map(|h| h.inventory.vcpus), Some(16));
}

fn context() -> Context {
    Context { now: LATER, actor: strata_events::Actor::service("test"), request_id: String::new(), caused_by: None }
}
