//! A guest to speak of.

use std::collections::BTreeMap;
use strata_events::instance::Size;
use strata_events::port::{FixedIp, MacAddress};
use strata_events::subnet::HostRoute;
use strata_events::{FlavorId, InstanceId, NetworkId, PortId, ProjectId, SecretId, SubnetId, UserId};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::{InstancePlan, Nic};
use strata_projections::plan::subnet::PlannedSubnet;
use uuid::Uuid;

pub fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0000 + n)
}

pub fn nic(network: u128, ip: &str, dhcp: bool) -> Nic {
    let ip = ip.parse().unwrap();
    let subnet = SubnetId(uuid(900 + network));
    Nic {
        port: PortId(uuid(500 + network)),
        network: NetworkId(uuid(network)),
        mac: MacAddress([0xfa, 0x16, 0x3e, 0, 0, 7]),
        mtu: 1450,
        fixed_ips: vec![FixedIp { subnet, ip }],
        subnets: vec![PlannedSubnet {
            id: subnet,
            cidr: ipnet::IpNet::new(ip, 24).unwrap().trunc(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            enable_dhcp: dhcp,
            dns_nameservers: vec!["9.9.9.9".parse().unwrap()],
            host_routes: vec![HostRoute { destination: "10.9.0.0/16".parse().unwrap(), nexthop: "10.0.0.9".parse().unwrap() }],
            ipv6_address_mode: None,
            ipv6_ra_mode: None,
        }],
        dns_domain: String::new(),
    }
}

pub fn plan(id: u128, nics: Vec<Nic>) -> InstancePlan {
    InstancePlan {
        id: InstanceId(uuid(id)),
        generation: 1,
        wanted: Wanted::Running,
        ready: true,
        reboots: 0,
        reboot_hard: false,
        asks: 0,
        name: format!("Guest {id}"),
        hostname: format!("guest-{id}"),
        project: ProjectId(uuid(700)),
        user: UserId(uuid(701)),
        size: Size {
            flavor: FlavorId("1".into()),
            name: "m1.tiny".into(),
            vcpus: 1,
            ram: 512,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            extra_specs: BTreeMap::new(),
        },
        image: None,
        image_gone: None,
        key_name: Some("mine".into()),
        public_key: Some("ssh-ed25519 AAAA me@home\n".into()),
        metadata: BTreeMap::from([("role".into(), "db".into())]),
        config_drive: false,
        user_data: Some(SecretId(uuid(800 + id))),
        nics,
        zone: "nova".into(),
        launch_index: 3,
        reservation: "r-abcd1234".into(),
        security_groups: vec!["default".into(), "web".into()],
    }
}
