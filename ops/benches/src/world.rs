//! Logs and clouds made up for measuring: the events that real servers with their ports leave.

use std::collections::BTreeMap;
use strata_events::flavor::FlavorEvent;
use strata_events::host::{HostEvent, Inventory};
use strata_events::instance::{InstanceEvent, InstanceSpec, Operation, Size};
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::{FixedIp, MacAddress, PortAttributes, PortEvent};
use strata_events::subnet::{SubnetAttributes, SubnetEvent};
use strata_events::{Actor, Event, FlavorId, HostName, InstanceId, NetworkId, PortId, ProjectId, Recorded, SubnetId, Timestamp, UserId};
use strata_projections::Cloud;
use uuid::Uuid;

pub const PROJECT: ProjectId = ProjectId(Uuid::from_u128(0xabc));
pub const USER: UserId = UserId(Uuid::from_u128(0xdef));
const NETWORK: NetworkId = NetworkId(Uuid::from_u128(1));
const SUBNET: SubnetId = SubnetId(Uuid::from_u128(2));

/// An id that looks random and is the same in every run.
fn id(kind: u64, n: u64) -> Uuid {
    let mut x = (u128::from(kind) << 64 | u128::from(n)).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    x ^= x >> 67;
    uuid::Builder::from_random_bytes(x.wrapping_mul(0xD6E8_FEB8_6659_FD93_A5A3_5643_1F7A_2D8B).to_be_bytes()).into_uuid()
}

fn size() -> Size {
    Size {
        flavor: FlavorId("1".into()),
        name: "m1.tiny".into(),
        vcpus: 1,
        ram: 512,
        disk: 1,
        ephemeral: 0,
        swap: 0,
        extra_specs: BTreeMap::new(),
    }
}

/// Writes a log, event by event, and keeps the state beside it.
#[derive(Default)]
pub struct World {
    pub cloud: Cloud,
}

/// A log row as it is read: kind, type, body and the rest of the envelope.
pub struct Row {
    pub kind: &'static str,
    pub type_name: &'static str,
    pub body: String,
    pub version: u32,
    pub at: Timestamp,
    pub actor: String,
    pub request_id: String,
}

impl World {
    pub fn record(&mut self, event: Event) -> Recorded {
        let recorded = Recorded {
            position: self.cloud.position + 1,
            version: self.cloud.next_version(&event.stream()),
            recorded_at: Timestamp(1_790_000_000_000_000 + self.cloud.position as i64 * 1000),
            actor: Actor::User { user: USER, project: Some(PROJECT), from: "127.0.0.1".into() },
            request_id: format!("req-{}", id(9, self.cloud.position).hyphenated()),
            caused_by: None,
            event,
        };
        if let Err(e) = self.cloud.apply(&recorded) {
            panic!("{e}");
        }
        recorded
    }

    /// Hosts, a flavor, a network.
    pub fn ground(&mut self, hosts: u64) -> Vec<Recorded> {
        let flavor = FlavorEvent::FlavorCreated {
            id: FlavorId("1".into()),
            name: "m1.tiny".into(),
            description: None,
            vcpus: 1,
            ram: 512,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            rxtx_factor: 1.0,
            is_public: true,
            extra_specs: BTreeMap::new(),
        };
        let network = NetworkEvent::NetworkCreated {
            id: NETWORK,
            project: PROJECT,
            segment: Segment::Vxlan { vni: 1 },
            attributes: NetworkAttributes {
                name: "net".into(),
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
        };
        let subnet = SubnetEvent::SubnetCreated {
            id: SUBNET,
            project: PROJECT,
            network: NETWORK,
            cidr: "10.0.0.0/8".parse().unwrap_or_else(|_| unreachable!()),
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
        };
        let mut log: Vec<Recorded> = [flavor.into(), network.into(), subnet.into()].into_iter().map(|e| self.record(e)).collect();
        for n in 0..hosts {
            log.push(
                self.record(
                    HostEvent::HostJoined {
                        id: HostName(format!("host-{n}")),
                        public_key: format!("U{n}"),
                        zone: "nova".into(),
                        inventory: Inventory {
                            vcpus: 64,
                            memory: 262_144,
                            disk: 4096,
                            hypervisor_type: "QEMU".into(),
                            hypervisor_version: 7_002_022,
                            cpu_arch: "x86_64".into(),
                            host_ip: "127.0.0.1".into(),
                        },
                    }
                    .into(),
                ),
            );
        }
        log
    }

    /// A server that waits for a host.
    pub fn waiting(&mut self, n: u64) {
        let mut aside = World { cloud: self.cloud.clone() };
        let host = HostName("host-0".into());
        for recorded in aside.server(n, &host).into_iter().take(2) {
            self.record(recorded.event);
        }
    }

    /// The life of a server with its port up to ACTIVE: seven events.
    pub fn server(&mut self, n: u64, host: &HostName) -> Vec<Recorded> {
        let (server, port) = (InstanceId(id(1, n)), PortId(id(2, n)));
        let ip = std::net::IpAddr::from((0x0a00_0000 + n as u32 + 10).to_be_bytes());
        let bytes = (n as u32).to_be_bytes();
        let attributes = PortAttributes {
            name: String::new(),
            description: String::new(),
            admin_state_up: true,
            fixed_ips: vec![FixedIp { subnet: SUBNET, ip }],
            security_groups: vec![],
            port_security_enabled: true,
            allowed_address_pairs: vec![],
            extra_dhcp_opts: vec![],
            device_id: server.to_string(),
            device_owner: "compute:nova".into(),
            vnic_type: "normal".into(),
            binding_profile: Default::default(),
            binding_host: None,
            dns_name: format!("server-{n}"),
            tags: vec![],
        };
        let spec = InstanceSpec {
            name: format!("server-{n}"),
            description: None,
            hostname: format!("server-{n}"),
            size: size(),
            image: None,
            key_name: None,
            public_key: None,
            metadata: BTreeMap::from([("purpose".into(), "bench".into())]),
            tags: vec![],
            ports: vec![port],
            own_ports: vec![port],
            config_drive: false,
            user_data: None,
            disk_config_auto: false,
            zone: None,
            wanted_host: None,
            access_ipv4: None,
            access_ipv6: None,
            hints: Default::default(),
            group: None,
            reservation: format!("r-{n:08x}"),
            launch_index: 0,
        };
        let deadline = self.cloud.at.plus_secs(600);
        let events: Vec<Event> = vec![
            PortEvent::PortCreated {
                id: port,
                project: PROJECT,
                network: NETWORK,
                mac: MacAddress([0xfa, 0x16, bytes[0], bytes[1], bytes[2], bytes[3]]),
                attributes,
            }
            .into(),
            InstanceEvent::InstanceRequested { id: server, project: PROJECT, user: USER, spec, deadline }.into(),
            InstanceEvent::InstancePlaced { id: server, host: host.clone(), generation: 1 }.into(),
            PortEvent::PortBound { id: port, host: host.clone() }.into(),
            PortEvent::PortPlugged { id: port, host: host.clone() }.into(),
            InstanceEvent::InstanceStarted { id: server, host: host.clone(), generation: 1 }.into(),
        ];
        events.into_iter().map(|e| self.record(e)).collect()
    }

    /// Its end: three events.
    pub fn delete(&mut self, n: u64) -> Vec<Recorded> {
        let (server, port) = (InstanceId(id(1, n)), PortId(id(2, n)));
        let Some(host) = self.cloud.instances.get(&server).and_then(|i| i.host.clone()) else { return vec![] };
        let deadline = self.cloud.at.plus_secs(60);
        let events: Vec<Event> = vec![
            InstanceEvent::InstanceOperationRequested { id: server, operation: Operation::Delete, deadline }.into(),
            InstanceEvent::InstanceDeleted { id: server }.into(),
            PortEvent::PortDeleted { id: port }.into(),
            PortEvent::PortUnplugged { id: port, host }.into(),
        ];
        events.into_iter().map(|e| self.record(e)).collect()
    }
}

impl Row {
    pub fn of(recorded: &Recorded) -> Self {
        Row {
            kind: recorded.event.kind(),
            type_name: recorded.event.type_name(),
            body: recorded.event.encode(),
            version: recorded.version,
            at: recorded.recorded_at,
            actor: serde_json::to_string(&recorded.actor).unwrap_or_default(),
            request_id: recorded.request_id.clone(),
        }
    }
    pub fn decode(&self, position: u64) -> Recorded {
        let event = match Event::decode(self.kind, self.type_name, 1, &self.body) {
            Ok(event) => event,
            Err(e) => panic!("{e}"),
        };
        let actor = serde_json::from_str(&self.actor).unwrap_or_else(|e| panic!("{e}"));
        Recorded {
            position,
            version: self.version,
            recorded_at: self.at,
            actor,
            request_id: self.request_id.clone(),
            caused_by: None,
            event,
        }
    }
}
