//! What users do: request, delete, operate; and the ground that they stand on.

use crate::host::Host;
use crate::{Message, Simulation};
use std::collections::BTreeMap;
use std::net::IpAddr;
use strata_conductor::Command;
use strata_conductor::decide::instance::{
    DeleteInstance, NewInstance, NicAsk, NicTarget, OperateInstance, PortSeed, RequestInstances, UpdateInstance, WantedNetworks,
};
use strata_conductor::decide::security_group::{AddRule, DefaultGroupIds, RemoveRule};
use strata_conductor::decide::subnet::{SubnetChanges, UpdateSubnet};
use strata_conductor::{Context, Decision};
use strata_events::domain::DomainEvent;
use strata_events::flavor::FlavorEvent;
use strata_events::host::{HostEvent, Inventory};
use strata_events::image::{ImageAttributes, ImageEvent, Visibility};
use strata_events::instance::Operation;
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::MacAddress;
use strata_events::project::ProjectEvent;
use strata_events::quota::QuotaEvent;
use strata_events::security_group::{Direction, Ethertype};
use strata_events::subnet::{Pool, SubnetAttributes, SubnetEvent};
use strata_events::{
    Actor, DomainId, Event, FlavorId, HostName, ImageId, InstanceId, NetworkId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId,
    SubnetId, Timestamp, UserId,
};
use strata_projections::Cloud;
use strata_projections::cloud::instance::State;
use uuid::Uuid;

pub(crate) const PROJECT: ProjectId = ProjectId(Uuid::from_u128(0xa));
const USER: UserId = UserId(Uuid::from_u128(0xb));
const IMAGE: ImageId = ImageId(Uuid::from_u128(0xc));
const NETWORK: NetworkId = NetworkId(Uuid::from_u128(0xd));
const SUBNET: SubnetId = SubnetId(Uuid::from_u128(0xe));
/// Fewer servers fit on the hosts than users ask for, now and then.
const HOSTS: u32 = 3;

/// Facts that are given.
#[derive(Debug)]
struct Facts(Vec<Event>);
impl Command for Facts {
    fn decide(&self, _: &Cloud, _: &Context) -> Decision {
        Ok(self.0.clone())
    }
}

impl Simulation {
    pub(crate) fn ground(&mut self) {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let mut facts: Vec<Event> = vec![
            DomainEvent::DomainCreated {
                id: DomainId::DEFAULT,
                name: "Default".into(),
                description: String::new(),
                enabled: true,
                options: Default::default(),
                tags: vec![],
                extra: Default::default(),
            }
            .into(),
            ProjectEvent::ProjectCreated {
                id: PROJECT,
                domain: DomainId::DEFAULT,
                parent: None,
                name: "p".into(),
                description: String::new(),
                enabled: true,
                tags: vec![],
                options: Default::default(),
                extra: Default::default(),
            }
            .into(),
            QuotaEvent::QuotaSet {
                id: PROJECT,
                limits: BTreeMap::from([
                    ("compute.instances".into(), 40),
                    ("compute.cores".into(), -1),
                    ("compute.ram".into(), -1),
                    ("network.port".into(), -1),
                ]),
            }
            .into(),
            FlavorEvent::FlavorCreated {
                id: FlavorId("1".into()),
                name: "small".into(),
                description: None,
                vcpus: 1,
                ram: 512,
                disk: 1,
                ephemeral: 0,
                swap: 0,
                rxtx_factor: 1.0,
                is_public: true,
                extra_specs: BTreeMap::new(),
            }
            .into(),
            ImageEvent::ImageCreated {
                id: IMAGE,
                owner: PROJECT,
                attributes: ImageAttributes {
                    name: None,
                    visibility: Visibility::Public,
                    protected: false,
                    os_hidden: false,
                    min_disk: 0,
                    min_ram: 0,
                    disk_format: Some("raw".into()),
                    container_format: Some("bare".into()),
                    tags: vec![],
                    properties: Default::default(),
                },
            }
            .into(),
            ImageEvent::ImageUploadStarted {
                id: IMAGE,
                upload: strata_events::UploadId(Uuid::from_u128(1)),
                deadline: Timestamp(i64::MAX),
            }
            .into(),
            ImageEvent::ImageActivated { id: IMAGE, size: 1, virtual_size: Some(1), checksum: "c".into(), sha512: "s".into() }.into(),
            NetworkEvent::NetworkCreated {
                id: NETWORK,
                project: PROJECT,
                segment: Segment::Vxlan { vni: 1 },
                attributes: NetworkAttributes {
                    name: "n".into(),
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
                },
            }
            .into(),
            SubnetEvent::SubnetCreated {
                id: SUBNET,
                project: PROJECT,
                network: NETWORK,
                cidr: "10.0.0.0/26".parse().unwrap_or_else(|_| unreachable!()),
                ipv6_address_mode: None,
                ipv6_ra_mode: None,
                attributes: SubnetAttributes {
                    name: String::new(),
                    description: String::new(),
                    gateway_ip: Some(address(1)),
                    enable_dhcp: true,
                    allocation_pools: vec![Pool { start: address(2), end: address(62) }],
                    dns_nameservers: vec![],
                    host_routes: vec![],
                    dns_publish_fixed_ip: false,
                    service_types: vec![],
                    tags: vec![],
                },
            }
            .into(),
        ];
        for n in 0..HOSTS {
            let name = HostName(format!("h{n}"));
            self.hosts.insert(name.clone(), Host::default());
            let inventory = Inventory {
                vcpus: 8,
                memory: 2560,
                disk: 100,
                hypervisor_type: "simulated".into(),
                hypervisor_version: 1,
                cpu_arch: "x86_64".into(),
                host_ip: "127.0.0.1".into(),
            };
            facts.push(HostEvent::HostJoined { id: name, public_key: format!("U{n}"), zone: "nova".into(), inventory }.into());
        }
        if let Err(e) = self.commit(0, Actor::service("test"), &Facts(facts)) {
            panic!("{e}");
        }
    }

    fn id(&mut self) -> Uuid {
        self.next_id += 1;
        uuid::Builder::from_random_bytes((self.next_id << 64 | u128::from(self.random.draw())).to_be_bytes()).into_uuid()
    }

    /// Someone does something, by one of the replicas.
    pub(crate) fn user(&mut self) -> Result<(), String> {
        let replica = self.random.index(self.replicas.len());
        let actor = Actor::User { user: USER, project: Some(PROJECT), from: "127.0.0.1".into() };
        match self.random.below(13) {
            0..4 => {
                let id = InstanceId(self.id());
                let request = self.request(id);
                if let Some(Ok(())) = self.commit(replica, actor, &request)? {
                    self.accepted.insert(id);
                }
            }
            4..5 => {
                let Some(id) = self.some_server() else { return Ok(()) };
                if let Some(Ok(())) = self.commit(replica, actor, &DeleteInstance { id, admin: false })? {
                    self.deleted.insert(id);
                }
            }
            5..10 => {
                let Some(id) = self.some_server() else { return Ok(()) };
                // Mostly what fits the state as this user last saw it.
                let fitting: &[Operation] = match self.replicas[replica].cloud.instances.get(&id).map(|i| i.state) {
                    Some(State::Stopped) => &[Operation::Start],
                    Some(State::Paused) => &[Operation::Unpause, Operation::RebootHard],
                    Some(State::Suspended) => &[Operation::Resume],
                    _ => &[Operation::Stop, Operation::RebootSoft, Operation::RebootHard, Operation::Pause, Operation::Suspend],
                };
                let operation = fitting[self.random.index(fitting.len())];
                self.commit(replica, actor, &OperateInstance { id, operation, admin: false })?;
            }
            10..12 => self.around(replica, actor)?,
            _ => {
                let host = self.some_host();
                self.mishap(&host);
                let keys: Vec<_> = self.plans.keys().filter(|k| k.host() == host.0).cloned().collect();
                for key in keys {
                    self.send(Message::Planned(host.clone(), key));
                }
            }
        }
        Ok(())
    }

    /// What is beside servers and yet in what their hosts are told: names, subnets, rules.
    fn around(&mut self, replica: usize, actor: Actor) -> Result<(), String> {
        let some = self.random.below(250) as u8;
        let command: Box<dyn Command> = match self.random.below(4) {
            0 => {
                let Some(id) = self.some_server() else { return Ok(()) };
                Box::new(UpdateInstance {
                    id,
                    name: None,
                    description: None,
                    hostname: Some(format!("name{some}")),
                    disk_config_auto: None,
                    access_ipv4: None,
                    access_ipv6: None,
                })
            }
            1 => Box::new(UpdateSubnet {
                id: SUBNET,
                changes: SubnetChanges {
                    enable_dhcp: Some(!some.is_multiple_of(4)),
                    dns_nameservers: Some(vec![IpAddr::from([192, 0, 2, some])]),
                    ..Default::default()
                },
                revision: None,
                distributed: PortSeed { id: PortId(self.id()), mac: MacAddress([0xfa, 0x16, 0x3e, 1, 0, 0]) },
            }),
            2 => {
                let Some(group) = self.replicas[replica].cloud.security_groups.default_of(&PROJECT).map(|g| g.id) else { return Ok(()) };
                Box::new(AddRule {
                    id: SecurityGroupRuleId(self.id()),
                    group,
                    project: None,
                    direction: Direction::Ingress,
                    ethertype: Ethertype::V4,
                    protocol: Some("tcp".into()),
                    port_range_min: Some(some.into()),
                    port_range_max: Some(some.into()),
                    remote_ip_prefix: None,
                    remote_group: some.is_multiple_of(2).then_some(group),
                    description: String::new(),
                })
            }
            _ => {
                let group = self.replicas[replica].cloud.security_groups.default_of(&PROJECT);
                let Some(rule) = group.and_then(|g| g.rules.last().map(|r| r.id)) else { return Ok(()) };
                Box::new(RemoveRule { id: rule })
            }
        };
        self.commit(replica, actor, &*command).map(drop)
    }

    fn some_server(&mut self) -> Option<InstanceId> {
        let alive: Vec<InstanceId> = self.accepted.difference(&self.deleted).copied().collect();
        if alive.is_empty() { None } else { Some(alive[self.random.index(alive.len())]) }
    }

    fn request(&mut self, id: InstanceId) -> RequestInstances {
        RequestInstances {
            instances: vec![NewInstance {
                id,
                ports: vec![PortSeed { id: PortId(self.id()), mac: MacAddress([0xfa, 0x16, 0x3e, 0, 0, 0]) }],
            }],
            min_count: 1,
            project: PROJECT,
            user: USER,
            admin: false,
            name: "s".into(),
            description: None,
            hostname: None,
            flavor: FlavorId("1".into()),
            image: IMAGE,
            key_name: None,
            metadata: BTreeMap::new(),
            tags: vec![],
            networks: WantedNetworks::These(vec![NicAsk { target: NicTarget::Network { id: NETWORK, fixed_ip: None } }]),
            security_groups: vec![],
            default_group: DefaultGroupIds {
                group: SecurityGroupId(self.id()),
                rules: std::array::from_fn(|_| SecurityGroupRuleId(self.id())),
            },
            config_drive: false,
            user_data: None,
            disk_config_auto: None,
            access_ipv4: None,
            access_ipv6: None,
            zone: None,
            wanted_host: None,
            hints: Default::default(),
            group: None,
            reservation: "r".into(),
        }
    }
}
