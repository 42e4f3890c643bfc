//! Given, when, then for every rule of instances.

use super::*;
use crate::testing::{Given, given};
use crate::{Class, Command};
use serde_json::Map;
use std::collections::BTreeMap;
use strata_events::flavor::FlavorEvent;
use strata_events::host::{HostEvent, Inventory};
use strata_events::image::{ImageAttributes, ImageEvent, Visibility};
use strata_events::instance::Operation;
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::{MacAddress, PortAttributes};
use strata_events::quota::QuotaEvent;
use strata_events::server_group::{GroupPolicy, ServerGroupEvent};
use strata_events::subnet::{Pool, SubnetAttributes, SubnetEvent};
use strata_events::{
    HostName, ImageId, NetworkId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId, ServerGroupId, SubnetId, Timestamp, UserId,
};
use strata_projections::cloud::instance::{Task, Wanted};
use uuid::Uuid;

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(0xa));
const OTHER: ProjectId = ProjectId(Uuid::from_u128(0xb));
const USER: UserId = UserId(Uuid::from_u128(0xc));
const IMAGE: ImageId = ImageId(Uuid::from_u128(0xd));
const GROUP: ServerGroupId = ServerGroupId(Uuid::from_u128(0xe));
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}
fn net(n: u128) -> NetworkId {
    NetworkId(Uuid::from_u128(0x100 + n))
}
fn port(n: u128) -> PortId {
    PortId(Uuid::from_u128(0x1000 + n))
}

fn flavor(name: &str, vcpus: u32, ram: u64, disk: u64) -> Event {
    FlavorEvent::FlavorCreated {
        id: name.into(),
        name: name.into(),
        description: None,
        vcpus,
        ram,
        disk,
        ephemeral: 0,
        swap: 0,
        rxtx_factor: 1.0,
        is_public: true,
        extra_specs: BTreeMap::new(),
    }
    .into()
}
fn image(owner: ProjectId, visibility: Visibility, active: bool) -> Vec<Event> {
    let attributes = ImageAttributes {
        name: Some("cirros".into()),
        visibility,
        protected: false,
        os_hidden: false,
        min_disk: 1,
        min_ram: 64,
        disk_format: Some("qcow2".into()),
        container_format: Some("bare".into()),
        tags: vec![],
        properties: Map::new(),
    };
    let mut events = events![ImageEvent::ImageCreated { id: IMAGE, owner, attributes }];
    if active {
        let (checksum, sha512) = ("0".into(), "0".into());
        events.push(
            ImageEvent::ImageUploadStarted { id: IMAGE, upload: strata_events::UploadId(Uuid::from_u128(1)), deadline: NOW.plus_secs(60) }
                .into(),
        );
        events.push(ImageEvent::ImageActivated { id: IMAGE, size: 1000, virtual_size: Some(1 << 30), checksum, sha512 }.into());
    }
    events
}
fn network(n: u128, project: ProjectId) -> Vec<Event> {
    let attributes = NetworkAttributes {
        name: format!("n{n}"),
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
    let ip = |last: u8| std::net::IpAddr::from([10, 0, u8::try_from(n).unwrap_or(0), last]);
    let subnet = SubnetAttributes {
        name: String::new(),
        description: String::new(),
        gateway_ip: Some(ip(1)),
        enable_dhcp: true,
        allocation_pools: vec![Pool { start: ip(2), end: ip(254) }],
        dns_nameservers: vec![],
        host_routes: vec![],
        dns_publish_fixed_ip: false,
        service_types: vec![],
        tags: vec![],
    };
    let cidr = format!("10.0.{n}.0/24").parse().unwrap_or_else(|e| panic!("{e}"));
    events![
        NetworkEvent::NetworkCreated {
            id: net(n),
            project,
            segment: Segment::Vxlan { vni: u32::try_from(n).unwrap_or(0) + 1 },
            attributes
        },
        SubnetEvent::SubnetCreated {
            id: SubnetId(Uuid::from_u128(0x200 + n)),
            project,
            network: net(n),
            cidr,
            ipv6_address_mode: None,
            ipv6_ra_mode: None,
            attributes: subnet
        },
    ]
}
fn foreign_port(n: u128, project: ProjectId, device: &str) -> Event {
    let attributes = PortAttributes {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        fixed_ips: vec![strata_events::port::FixedIp { subnet: SubnetId(Uuid::from_u128(0x201)), ip: [10, 0, 1, 200].into() }],
        security_groups: vec![],
        port_security_enabled: true,
        allowed_address_pairs: vec![],
        extra_dhcp_opts: vec![],
        device_id: device.into(),
        device_owner: String::new(),
        vnic_type: "normal".into(),
        binding_profile: Map::new(),
        binding_host: None,
        dns_name: String::new(),
        tags: vec![],
    };
    PortEvent::PortCreated { id: port(n), project, network: net(1), mac: MacAddress([2, 0, 0, 0, 0, 9]), attributes }.into()
}
fn host(name: &str, memory: u64) -> Event {
    let inventory = Inventory {
        vcpus: 8,
        memory,
        disk: 100,
        hypervisor_type: "simulated".into(),
        hypervisor_version: 1,
        cpu_arch: "x86_64".into(),
        host_ip: "10.9.9.9".into(),
    };
    HostEvent::HostJoined { id: name.into(), public_key: String::new(), zone: "nova".into(), inventory }.into()
}
/// A cloud with a flavor, an image, a network and a host.
fn cloud() -> Vec<Event> {
    let mut events = vec![flavor("m1.tiny", 1, 512, 1), flavor("m1.large", 4, 8192, 80), host("h1", 4096)];
    events.extend(image(PROJECT, Visibility::Public, true));
    events.extend(network(1, PROJECT));
    events
}
fn ask(n: u128) -> RequestInstances {
    RequestInstances {
        instances: vec![new(n)],
        min_count: 1,
        project: PROJECT,
        user: USER,
        admin: false,
        name: format!("s{n}"),
        description: None,
        hostname: None,
        flavor: "m1.tiny".into(),
        image: IMAGE,
        key_name: None,
        metadata: BTreeMap::new(),
        tags: vec![],
        networks: WantedNetworks::Unsaid,
        security_groups: vec![],
        default_group: crate::decide::security_group::DefaultGroupIds {
            group: SecurityGroupId(Uuid::from_u128(0x900)),
            rules: std::array::from_fn(|i| SecurityGroupRuleId(Uuid::from_u128(0x910 + i as u128))),
        },
        config_drive: false,
        user_data: None,
        disk_config_auto: None,
        access_ipv4: None,
        access_ipv6: None,
        zone: None,
        wanted_host: None,
        hints: Map::new(),
        group: None,
        reservation: "r-1".into(),
    }
}
fn new(n: u128) -> NewInstance {
    let seed = |k: u128| PortSeed { id: port(n * 10 + k), mac: MacAddress([0xfa, 0x16, 0x3e, 0, u8::try_from(n).unwrap_or(0), k as u8]) };
    NewInstance { id: id(n), ports: vec![seed(0), seed(1)] }
}
fn networks(asks: &[NicTarget]) -> WantedNetworks {
    WantedNetworks::These(asks.iter().cloned().map(|target| NicAsk { target }).collect())
}
fn on(n: u128) -> NicTarget {
    NicTarget::Network { id: net(n), fixed_ip: None }
}
fn again(cloud: &Cloud) -> Given {
    Given { cloud: cloud.clone(), now: NOW }
}
/// A requested server, placed on h1 and running.
fn running() -> Cloud {
    let cloud = given(cloud()).when(ask(1)).accepted();
    let cloud = again(&cloud).when(PlaceInstance { id: id(1), host: "h1".into() }).accepted();
    after(cloud, InstanceEvent::InstanceStarted { id: id(1), host: "h1".into(), generation: 1 })
}
fn after(mut cloud: Cloud, event: impl Into<Event>) -> Cloud {
    crate::testing::record(&mut cloud, event.into(), NOW);
    cloud
}
fn done(cloud: Cloud, operation: Operation) -> Cloud {
    let cloud = again(&cloud).when(OperateInstance { id: id(1), operation, admin: false }).accepted();
    after(cloud, InstanceEvent::InstanceOperationDone { id: id(1), operation })
}
fn server(cloud: &Cloud) -> &Instance {
    cloud.instances.get(&id(1)).map(|i| &**i).unwrap_or_else(|| panic!("the server is gone"))
}

#[test]
fn a_server_comes_with_its_port_in_one_decision() {
    let cloud = given(cloud()).when(ask(1)).accepted();
    let server = server(&cloud);
    assert_eq!((server.state, server.task), (State::Building, Some(Task::Schedule)));
    assert_eq!(server.spec.own_ports, [port(10)]);
    let port = cloud.ports.get(&port(10)).map(|p| &p.attributes).unwrap_or_else(|| panic!("no port"));
    assert_eq!((port.device_id.as_str(), port.device_owner.as_str()), (server.id.to_string().as_str(), "compute:nova"));
    assert_eq!(port.security_groups, [SecurityGroupId(Uuid::from_u128(0x900))]);
}

#[test]
fn the_quota_is_told_in_novas_words() {
    let quota =
        QuotaEvent::QuotaSet { id: PROJECT, limits: BTreeMap::from([("compute.instances".into(), 1), ("compute.cores".into(), 1)]) };
    let first = given(cloud().into_iter().chain(events![quota])).when(ask(1)).accepted();
    again(&first)
        .when(ask(2))
        .refused(Class::OverQuota, "Quota exceeded for cores, instances: Requested 1, 1, but already used 1, 1 of 1, 1 cores, instances");
}

#[test]
fn of_several_servers_as_many_are_made_as_the_quota_admits_but_not_fewer_than_the_least() {
    let quota = QuotaEvent::QuotaSet { id: PROJECT, limits: BTreeMap::from([("compute.instances".into(), 2)]) };
    let several = |min_count| RequestInstances { instances: (1..=4).map(new).collect(), min_count, ..ask(1) };
    let events = || cloud().into_iter().chain(events![quota.clone()]);
    let made = given(events()).when(several(1)).accepted();
    assert_eq!(made.instances.len(), 2);
    assert_eq!(server(&made).spec.name, "s1-1");
    given(events()).when(several(3)).refused(Class::OverQuota, "Requested 3");
}

#[test]
fn servers_of_one_call_get_different_addresses() {
    let several = RequestInstances { instances: (1..=4).map(new).collect(), ..ask(1) };
    let made = given(cloud()).when(several).accepted();
    assert_eq!(made.ports.len(), 4);
}

#[test]
fn the_flavor_must_suit_the_image() {
    let small = flavor("m1.nano", 1, 32, 1);
    let events = || cloud().into_iter().chain([small.clone()]);
    let with = |flavor: &str| RequestInstances { flavor: flavor.into(), ..ask(1) };
    given(events()).when(with("m1.nano")).refused(Class::Invalid, "memory is too small");
    given(events()).when(with("gone")).refused(Class::Invalid, "Flavor gone could not be found.");
    let zero = cloud().into_iter().chain([flavor("zero", 1, 512, 0)]);
    given(zero).when(with("zero")).refused(Class::Forbidden, "zero disk");
}

#[test]
fn the_image_must_be_there_and_active() {
    let with = |image: Vec<Event>| {
        let mut events = vec![flavor("m1.tiny", 1, 512, 1)];
        events.extend(image);
        given(events).when(ask(1))
    };
    with(image(PROJECT, Visibility::Private, false)).refused(Class::Invalid, "is not active");
    with(image(OTHER, Visibility::Private, true)).refused(Class::Invalid, "Can not find requested image");
    with(image(OTHER, Visibility::Public, true)).accepted();
}

#[test]
fn without_a_word_on_networks_the_only_one_is_taken_and_several_are_ambiguous() {
    let two = || cloud().into_iter().chain(network(2, PROJECT));
    given(two()).when(ask(1)).refused(Class::Conflict, "Multiple possible networks found, use a Network ID to be more specific.");
    let both = RequestInstances { networks: networks(&[on(2), on(1)]), ..ask(1) };
    let cloud = given(two()).when(both).accepted();
    let nics: Vec<_> = server(&cloud).spec.ports.iter().filter_map(|p| cloud.ports.get(p)).map(|p| p.network).collect();
    assert_eq!(nics, [net(2), net(1)]);
    let none = RequestInstances { networks: WantedNetworks::Nothing, ..ask(1) };
    assert!(given(two()).when(none).accepted().ports.is_empty());
}

#[test]
fn auto_needs_a_network() {
    let mut events = vec![flavor("m1.tiny", 1, 512, 1)];
    events.extend(image(PROJECT, Visibility::Public, true));
    let auto = RequestInstances { networks: WantedNetworks::Auto, ..ask(1) };
    given(events).when(auto).refused(Class::Invalid, "Unable to automatically allocate a network");
}

#[test]
fn somebody_elses_network_and_port_are_not_there() {
    let events = || cloud().into_iter().chain(network(2, OTHER)).chain([foreign_port(7, OTHER, "")]);
    let with = |target| RequestInstances { networks: networks(&[target]), ..ask(1) };
    given(events()).when(with(on(2))).refused(Class::Invalid, "could not be found");
    given(events()).when(with(NicTarget::Port(port(7)))).refused(Class::Invalid, "Port id");
}

#[test]
fn a_port_in_use_is_a_conflict_and_a_free_one_is_freed_again() {
    let with = || RequestInstances { networks: networks(&[NicTarget::Port(port(7))]), ..ask(1) };
    let used = cloud().into_iter().chain([foreign_port(7, PROJECT, "something")]);
    given(used).when(with()).refused(Class::Conflict, "is still in use");
    let cloud = given(cloud().into_iter().chain([foreign_port(7, PROJECT, "")])).when(with()).accepted();
    assert!(server(&cloud).spec.own_ports.is_empty());
    let cloud = again(&cloud).when(DeleteInstance { id: id(1), admin: false }).accepted();
    assert!(cloud.ports.get(&port(7)).is_some_and(|p| p.attributes.device_id.is_empty()));
}

#[test]
fn an_unknown_security_group_or_key_is_refused() {
    let group = RequestInstances { security_groups: vec!["web".into()], ..ask(1) };
    given(cloud()).when(group).refused(Class::Invalid, "Security group web not found");
    let key = RequestInstances { key_name: Some("laptop".into()), ..ask(1) };
    given(cloud()).when(key).refused(Class::Invalid, "Invalid key_name provided.");
}

#[test]
fn zone_and_host_asked_for_must_exist() {
    let zone = RequestInstances { zone: Some("mars".into()), ..ask(1) };
    given(cloud()).when(zone).refused(Class::Invalid, "availability zone is not available");
    let host = RequestInstances { wanted_host: Some("h9".into()), ..ask(1) };
    given(cloud()).when(host).refused(Class::Invalid, "Compute host h9 could not be found.");
}

#[test]
fn placement_binds_every_port_and_is_idempotent() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let place = || PlaceInstance { id: id(1), host: "h1".into() };
    let placed = again(&requested).when(place()).then(events![
        InstanceEvent::InstancePlaced { id: id(1), host: "h1".into(), generation: 1 },
        PortEvent::PortBound { id: port(10), host: "h1".into() },
    ]);
    again(&placed).when(place()).then([]);
    let placed = after(placed, host("h2", 4096));
    again(&placed).when(PlaceInstance { id: id(1), host: "h2".into() }).refused(Class::Conflict, "does not wait for a host");
}

#[test]
fn a_host_is_never_overfilled_and_a_lost_one_gets_nothing() {
    let large = |n| RequestInstances { flavor: "m1.large".into(), ..ask(n) };
    let requested = given(cloud()).when(large(1)).accepted();
    let place = || PlaceInstance { id: id(1), host: "h1".into() };
    again(&requested).when(place()).refused(Class::Conflict, "memory");
    let requested = given(cloud()).when(ask(1)).accepted();
    let lost = after(requested, HostEvent::HostLost { id: "h1".into(), last_seen: NOW });
    again(&lost).when(place()).refused(Class::Conflict, "is down");
}

#[test]
fn anti_affinity_holds_under_the_head() {
    let group = ServerGroupEvent::ServerGroupCreated {
        id: GROUP,
        project: PROJECT,
        user: USER,
        name: "apart".into(),
        policy: GroupPolicy::AntiAffinity,
        max_server_per_host: None,
    };
    let member = |n| RequestInstances { group: Some(GROUP), ..ask(n) };
    let cloud = given(cloud().into_iter().chain(events![group])).when(member(1)).accepted();
    let cloud = again(&cloud).when(member(2)).accepted();
    let place = |n| PlaceInstance { id: id(n), host: "h1".into() };
    let cloud = again(&cloud).when(place(1)).accepted();
    again(&cloud).when(place(2)).refused(Class::Conflict, "anti-affinity");
    let stranger = RequestInstances { project: OTHER, networks: WantedNetworks::Nothing, ..member(3) };
    again(&cloud).when(stranger).refused(Class::Invalid, "Instance group");
}

#[test]
fn what_no_host_can_take_ends_in_error_with_the_reasons() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let hosts = BTreeMap::from([("h1".to_owned(), "is disabled".to_owned())]);
    let cloud = again(&requested).when(MarkUnplaceable { id: id(1), hosts }).accepted();
    assert_eq!(server(&cloud).state, State::Error);
    assert!(server(&cloud).fault.as_ref().is_some_and(|f| f.code == 500 && f.message == NO_VALID_HOST));
    let cloud = again(&cloud).when(DeleteInstance { id: id(1), admin: false }).accepted();
    assert!(cloud.instances.is_empty() && cloud.ports.is_empty());
}

#[test]
fn each_operation_is_allowed_in_its_states_only() {
    use Operation::{Pause, RebootHard, RebootSoft, Resume, Start, Stop, Suspend, Unpause};
    let table: &[(&[Operation], &[Operation])] = &[
        (&[], &[Stop, RebootSoft, RebootHard, Pause, Suspend]),
        (&[Stop], &[Start, RebootHard]),
        (&[Pause], &[Unpause, RebootHard]),
        (&[Suspend], &[Resume, RebootHard]),
    ];
    for (path, allowed) in table {
        let cloud = path.iter().fold(running(), |cloud, operation| done(cloud, *operation));
        for operation in [Start, Stop, RebootSoft, RebootHard, Pause, Unpause, Suspend, Resume] {
            let outcome = again(&cloud).when(OperateInstance { id: id(1), operation, admin: false }).outcome;
            assert_eq!(outcome.is_ok(), allowed.contains(&operation), "{operation:?} after {path:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_wrong_state_is_told_in_novas_words() {
    let stopped = done(running(), Operation::Stop);
    let message = format!("Cannot 'stop' instance {} while it is in vm_state stopped", id(1));
    again(&stopped).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).refused(Class::Conflict, &message);
    let busy = again(&running()).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).accepted();
    again(&busy)
        .when(OperateInstance { id: id(1), operation: Operation::Pause, admin: false })
        .refused(Class::Conflict, "while it is in task_state powering-off");
}

#[test]
fn a_locked_server_obeys_admins_only() {
    let locked = again(&running()).when(LockInstance { id: id(1), by_admin: true, reason: Some("audit".into()) }).accepted();
    let stop = |admin| OperateInstance { id: id(1), operation: Operation::Stop, admin };
    again(&locked).when(stop(false)).refused(Class::Conflict, "is locked");
    again(&locked).when(DeleteInstance { id: id(1), admin: false }).refused(Class::Conflict, "is locked");
    again(&locked).when(stop(true)).accepted();
    again(&locked).when(UnlockInstance { id: id(1), admin: false }).refused(Class::Forbidden, "unlock_override");
    let free = again(&locked).when(UnlockInstance { id: id(1), admin: true }).accepted();
    again(&free).when(stop(false)).accepted();
}

#[test]
fn a_placed_server_is_deleted_when_its_host_says_so() {
    let delete = || DeleteInstance { id: id(1), admin: false };
    let deleting = again(&running()).when(delete()).accepted();
    assert_eq!((server(&deleting).wanted, server(&deleting).deadline), (Wanted::Absent, Some(NOW.plus_secs(OPERATION_SECS))));
    again(&deleting).when(delete()).then([]);
    let events = gone(&deleting, server(&deleting));
    let cloud = events.into_iter().fold(deleting, after);
    assert!(cloud.instances.is_empty() && cloud.ports.is_empty());
    assert_eq!(cloud.instances.usage(&PROJECT), Default::default());
    assert!(cloud.hosts.get(&HostName("h1".into())).is_some_and(|h| h.used == Default::default()));
}

#[test]
fn a_deadline_that_passed_ends_the_transient_state() {
    let expire = || ExpireInstance { id: id(1) };
    let requested = given(cloud()).when(ask(1)).accepted();
    again(&requested).when(expire()).then([]);
    let late = |cloud: &Cloud| again(cloud).at(NOW.plus_secs(BUILD_SECS));
    assert_eq!(server(&late(&requested).when(expire()).accepted()).state, State::Error);
    let placed = again(&requested).when(PlaceInstance { id: id(1), host: "h1".into() }).accepted();
    let failed = late(&placed).when(expire()).accepted();
    assert!(server(&failed).fault.as_ref().is_some_and(|f| f.message.contains("h1 did not report")));
    let released = released(&failed, server(&failed)).into_iter().fold(failed, after);
    assert!(released.hosts.get(&HostName("h1".into())).is_some_and(|h| h.used == Default::default()));
    assert!(released.ports.get(&port(10)).is_some_and(|p| p.binding.is_none()));
    let stopping = again(&running()).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).accepted();
    let cloud = late(&stopping).when(expire()).accepted();
    assert_eq!((server(&cloud).state, server(&cloud).wanted, server(&cloud).task), (State::Active, Wanted::Running, None));
}

#[test]
fn a_server_that_is_being_deleted_obeys_nothing_else_even_after_the_deadline() {
    let deleting = again(&running()).when(DeleteInstance { id: id(1), admin: false }).accepted();
    let late = again(&deleting).at(NOW.plus_secs(BUILD_SECS)).when(ExpireInstance { id: id(1) }).accepted();
    assert_eq!((server(&late).state, server(&late).wanted), (State::Error, Wanted::Absent));
    again(&late)
        .when(OperateInstance { id: id(1), operation: Operation::RebootHard, admin: false })
        .refused(Class::Conflict, "task_state deleting");
    again(&late).when(ResetState { id: id(1), error: false }).refused(Class::Conflict, "can't be reset");
}

#[test]
fn metadata_and_tags_have_their_limits_and_changing_nothing_says_nothing() {
    let set = |change| SetMetadata { id: id(1), change, admin: false };
    let many = (0..129).map(|n| (n.to_string(), String::new())).collect();
    again(&running()).when(set(MetadataChange::Replace(many))).refused(Class::OverQuota, "Maximum number of metadata items exceeds 128");
    let one = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let cloud = again(&running()).when(set(MetadataChange::Merge(one.clone()))).accepted();
    again(&cloud).when(set(MetadataChange::Merge(one))).then([]);
    again(&cloud).when(set(MetadataChange::Remove("x".into()))).refused(Class::NotFound, "Metadata item was not found");
    let tags = SetTags { id: id(1), change: TagsChange::Replace((0..51).map(|n| n.to_string()).collect()) };
    again(&cloud).when(tags).refused(Class::Invalid, "per-server limit 50");
}

#[test]
fn a_building_server_takes_no_metadata() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let change = MetadataChange::Merge(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    again(&requested).when(SetMetadata { id: id(1), change, admin: false }).refused(Class::Conflict, "vm_state building");
}

#[test]
fn interfaces_come_and_go_with_a_running_server() {
    let seed = PortSeed { id: port(77), mac: MacAddress([0xfa, 0x16, 0x3e, 7, 7, 7]) };
    let attach = AttachInterface { id: id(1), seed, default_group: ask(1).default_group, target: on(1), admin: false };
    let cloud = again(&running()).when(attach).accepted();
    assert_eq!(server(&cloud).spec.ports, [port(10), port(77)]);
    assert!(cloud.ports.get(&port(77)).is_some_and(|p| p.binding.as_ref().is_some_and(|b| b.host == "h1".into())));
    let detach = || DetachInterface { id: id(1), port: port(77), admin: false };
    let cloud = again(&cloud).when(detach()).accepted();
    assert_eq!(server(&cloud).spec.ports, [port(10)]);
    assert!(!cloud.ports.contains(&port(77)));
    again(&cloud).when(detach()).refused(Class::NotFound, "does not have a port");
}

#[test]
fn a_command_on_a_server_that_is_gone_is_not_found() {
    let ctx = crate::Context { now: NOW, actor: strata_events::Actor::service("t"), request_id: String::new(), caused_by: None };
    let outcome = DeleteInstance { id: id(1), admin: true }.decide(&Cloud::default(), &ctx);
    assert!(outcome.is_err_and(|r| r.message == format!("Instance {} could not be found.", id(1))));
}

#[test]
fn a_security_group_is_put_on_every_port_and_taken_off() {
    use strata_events::security_group::SecurityGroupEvent;
    let web = SecurityGroupId(Uuid::from_u128(0x999));
    let (name, description) = ("web".to_owned(), String::new());
    let made = SecurityGroupEvent::SecurityGroupCreated {
        id: web,
        project: PROJECT,
        name,
        description,
        stateful: true,
        rules: vec![],
        tags: vec![],
    };
    let change = |group: &str, add| ChangeSecurityGroup { id: id(1), group: group.into(), add, admin: false };
    let cloud = after(running(), made);
    again(&cloud).when(change("nope", true)).refused(Class::NotFound, "Security group nope not found");
    again(&cloud).when(change("web", false)).refused(Class::NotFound, "not associated");
    let cloud = again(&cloud).when(change("web", true)).accepted();
    assert!(cloud.ports.get(&port(10)).is_some_and(|p| p.attributes.security_groups.contains(&web)));
    again(&cloud).when(change("web", true)).then([]);
    let cloud = again(&cloud).when(change("web", false)).accepted();
    assert!(cloud.ports.get(&port(10)).is_some_and(|p| !p.attributes.security_groups.contains(&web)));
}

#[test]
fn a_guest_leaves_its_password_once_and_only_from_its_own_host() {
    let leave = |host: &str, password: &str| KeepPassword { host: host.into(), id: id(1), password: password.into() };
    let kept = InstanceEvent::InstancePasswordKept { id: id(1), password: "c2VjcmV0".into() };
    again(&running()).when(leave("h2", "c2VjcmV0")).refused(Class::Forbidden, "is not on host h2");
    again(&running()).when(leave("h1", &"x".repeat(1021))).refused(Class::Invalid, "at most 1020 bytes");
    let has = again(&running()).when(leave("h1", "c2VjcmV0")).then([kept.into()]);
    again(&has).when(leave("h1", "c2VjcmV0")).then([]);
    again(&has).when(leave("h1", "b3RoZXI")).refused(Class::Conflict, "a password already");
    again(&has).when(ClearPassword { id: id(1) }).then([InstanceEvent::InstancePasswordCleared { id: id(1) }.into()]);
    again(&running()).when(ClearPassword { id: id(1) }).then([]);
}
