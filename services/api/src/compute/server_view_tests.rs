//! A server has exactly the keys that its microversion has: clients' test suites refuse one more.

use super::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use strata_conductor::testing::given;
use strata_events::host::{HostEvent, Inventory};
use strata_events::instance::{InstanceEvent, InstanceSpec, Size};
use strata_events::{Event, ImageId, InstanceId, UserId};
use uuid::Uuid;

const ID: InstanceId = InstanceId(Uuid::from_u128(1));

/// A server that runs on a host.
fn cloud() -> Cloud {
    let inventory = Inventory {
        vcpus: 8,
        memory: 4096,
        disk: 100,
        hypervisor_type: "simulated".into(),
        hypervisor_version: 1,
        cpu_arch: "x86_64".into(),
        host_ip: "10.0.0.1".into(),
    };
    let size = Size {
        flavor: "1".into(),
        name: "m1.tiny".into(),
        vcpus: 1,
        ram: 512,
        disk: 1,
        ephemeral: 0,
        swap: 0,
        extra_specs: Default::default(),
    };
    let spec = InstanceSpec {
        name: "web".into(),
        description: None,
        hostname: "web".into(),
        size,
        image: Some(ImageId(Uuid::from_u128(2))),
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
    let (project, user, deadline) = (ProjectId(Uuid::max()), UserId(Uuid::max()), strata_events::Timestamp(i64::MAX));
    let events: Vec<Event> = vec![
        HostEvent::HostJoined { id: "h1".into(), public_key: String::new(), zone: "nova".into(), inventory }.into(),
        InstanceEvent::InstanceRequested { id: ID, project, user, spec, deadline }.into(),
        InstanceEvent::InstancePlaced { id: ID, host: "h1".into(), generation: 1 }.into(),
        InstanceEvent::InstanceStarted { id: ID, host: "h1".into(), generation: 1 }.into(),
    ];
    given(events).cloud
}

fn view(minor: u16, admin: bool, level: Level) -> Map<String, Value> {
    let cloud = cloud();
    let views = Views { cloud: &cloud, base: "http://h", version: Microversion(2, minor), admin, host_ids: RefCell::default() };
    let instance = cloud.instances.get(&ID).unwrap_or_else(|| panic!("the server is gone"));
    match serde_json::to_value(views.one(instance, level)) {
        Ok(Value::Object(map)) => map,
        other => panic!("{other:?}"),
    }
}
fn keys(minor: u16, admin: bool, level: Level) -> BTreeSet<String> {
    view(minor, admin, level).into_iter().map(|(k, _)| k).collect()
}

const UPDATE: &[&str] = &[
    "OS-DCF:diskConfig",
    "accessIPv4",
    "accessIPv6",
    "addresses",
    "created",
    "flavor",
    "hostId",
    "id",
    "image",
    "links",
    "metadata",
    "name",
    "progress",
    "status",
    "tenant_id",
    "updated",
    "user_id",
];
const SHOW: &[&str] = &[
    "OS-EXT-AZ:availability_zone",
    "OS-EXT-STS:power_state",
    "OS-EXT-STS:task_state",
    "OS-EXT-STS:vm_state",
    "OS-SRV-USG:launched_at",
    "OS-SRV-USG:terminated_at",
    "config_drive",
    "key_name",
    "os-extended-volumes:volumes_attached",
];
/// What each microversion added, and for whom.
const ADDED: &[(u16, bool, &[&str])] = &[
    (1, true, &["OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-SRV-ATTR:instance_name"]),
    (
        3,
        true,
        &[
            "OS-EXT-SRV-ATTR:hostname",
            "OS-EXT-SRV-ATTR:kernel_id",
            "OS-EXT-SRV-ATTR:launch_index",
            "OS-EXT-SRV-ATTR:ramdisk_id",
            "OS-EXT-SRV-ATTR:reservation_id",
            "OS-EXT-SRV-ATTR:root_device_name",
            "OS-EXT-SRV-ATTR:user_data",
        ],
    ),
    (9, false, &["locked"]),
    (16, true, &["host_status"]),
    (19, false, &["description"]),
    (26, false, &["tags"]),
    (63, false, &["trusted_image_certificates"]),
    (71, false, &["server_groups"]),
    (73, false, &["locked_reason"]),
    (90, false, &["OS-EXT-SRV-ATTR:hostname"]),
    (96, false, &["pinned_availability_zone"]),
];

#[test]
fn every_microversion_has_exactly_its_keys() {
    for minor in 1..=96 {
        for admin in [false, true] {
            let added = ADDED.iter().filter(|(since, for_admins, _)| minor >= *since && (admin || !for_admins));
            let all = UPDATE.iter().chain(SHOW).chain(added.flat_map(|(_, _, keys)| *keys));
            let expected: BTreeSet<String> = all.map(|k| (*k).to_owned()).collect();
            assert_eq!(keys(minor, admin, Level::Show), expected, "2.{minor}, admin: {admin}");
            let without = |k: &String| k != "server_groups";
            assert_eq!(keys(minor, admin, Level::Detail), expected.into_iter().filter(without).collect(), "2.{minor}, admin: {admin}");
        }
    }
}

#[test]
fn an_update_tells_less_and_a_brief_list_least() {
    assert_eq!(keys(1, true, Level::Update), UPDATE.iter().map(|k| (*k).to_owned()).collect());
    assert_eq!(keys(96, true, Level::Brief), ["id", "links", "name"].map(str::to_owned).into());
}

#[test]
fn the_flavor_is_embedded_from_2_47_on() {
    let flavor = |minor| view(minor, false, Level::Show).remove("flavor").and_then(|f| f.as_object().cloned()).unwrap_or_default();
    assert_eq!(flavor(46).keys().collect::<Vec<_>>(), ["id", "links"]);
    assert_eq!(flavor(47).keys().collect::<Vec<_>>(), ["disk", "ephemeral", "extra_specs", "original_name", "ram", "swap", "vcpus"]);
}

#[test]
fn a_host_id_is_the_sha224_of_project_and_host() {
    let id = host_id(&ProjectId(Uuid::nil()), &"h".into());
    assert_eq!(id.len(), 56);
    assert_ne!(id, host_id(&ProjectId(Uuid::max()), &"h".into()));
}
