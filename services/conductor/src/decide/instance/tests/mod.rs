//! Given, when, then for every rule of instances: what they share stands here, the rules in a file for each thing that may be
//! asked.

mod change;
mod place;
mod request;

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
