//! What hosts are told changes only where `plan::touched` says so, whatever is asked of networks, subnets, ports and groups: a key
//! that it leaves out would never reach its host.

use super::network::tests::{ALICE, create as network};
use super::network::{DeleteNetwork, NetworkChanges, Scope, UpdateNetwork};
use super::port::{CreatePort, DeletePort, NewPort, PortChanges, UpdatePort, WantedPair};
use super::security_group::tests::{group, ids};
use super::security_group::{AddRule, DeleteSecurityGroup, RemoveRule, SecurityGroupChanges, UpdateSecurityGroup};
use super::subnet::tests::subnet;
use super::subnet::{DeleteSubnet, SubnetChanges, UpdateSubnet};
use crate::testing::{given, record};
use crate::{Command, Context};
use proptest::prelude::*;
use std::collections::BTreeSet;
use strata_events::host::{HostEvent, Inventory};
use strata_events::port::MacAddress;
use strata_events::security_group::{Direction, Ethertype};
use strata_events::{Actor, Event, HostName, NetworkId, PortId, SecurityGroupId, SecurityGroupRuleId, SubnetId};
use strata_projections::Cloud;
use strata_projections::plan::{self, Key};
use uuid::Uuid;

/// Something asked, by small numbers: what exists and what doesn't both come up.
#[derive(Debug, Clone)]
struct Ask {
    what: u8,
    n: u128,
    m: u128,
    bits: u8,
}

fn net(n: u128) -> NetworkId {
    NetworkId(Uuid::from_u128(1 + n % 2))
}
fn sub(n: u128) -> SubnetId {
    SubnetId(Uuid::from_u128(0x20 + n % 4))
}
fn port(n: u128) -> PortId {
    PortId(Uuid::from_u128(0x100 + n % 5))
}
fn sg(n: u128) -> SecurityGroupId {
    SecurityGroupId(Uuid::from_u128(0x900 + n % 3))
}
fn rule(n: u128) -> SecurityGroupRuleId {
    SecurityGroupRuleId(Uuid::from_u128(0xa00 + n % 6))
}
fn seed(n: u128) -> super::instance::PortSeed {
    let mac = MacAddress([0xfa, 0x16, 0x3e, 9, 9, n as u8]);
    super::instance::PortSeed { id: PortId(Uuid::from_u128(0xd00 + n)), mac }
}
fn host(bits: u8) -> Option<HostName> {
    (!bits.is_multiple_of(3)).then(|| HostName(format!("h{}", bits % 3)))
}
fn groups(bits: u8) -> Vec<SecurityGroupId> {
    (0..3).filter(|i| bits >> i & 1 == 1).map(sg).collect()
}

impl Ask {
    /// New things have new ids.
    fn is_new(&self, cloud: &Cloud) -> bool {
        let Self { what, n, m, .. } = *self;
        match what {
            0 => !cloud.networks.contains(&net(n)),
            3 | 4 => !cloud.subnets.contains(&sub(n)),
            8..=10 => !cloud.ports.contains(&port(n)),
            16 => !cloud.security_groups.contains(&sg(n)),
            19..=21 => cloud.security_groups.holding(&rule(m)).is_none(),
            _ => true,
        }
    }
    fn command(&self, turn: usize) -> Box<dyn Command> {
        let Self { what, n, m, bits } = *self;
        let on = bits & 1 == 1;
        match what {
            0 => Box::new(super::network::CreateNetwork { id: net(n), ..network(1) }),
            1 => Box::new(UpdateNetwork {
                id: net(n),
                changes: NetworkChanges { mtu: Some(1400 + u16::from(bits % 2)), ..Default::default() },
                revision: None,
            }),
            2 => Box::new(DeleteNetwork { id: net(n), revision: None }),
            3 | 4 => {
                let mut ask = subnet(1, &format!("10.0.{}.0/24", n % 4));
                (ask.id, ask.network, ask.attributes.enable_dhcp) = (sub(n), net(m), on);
                ask.distributed = seed(turn as u128);
                Box::new(ask)
            }
            5 | 6 => Box::new(UpdateSubnet {
                id: sub(n),
                changes: SubnetChanges {
                    enable_dhcp: Some(on),
                    dns_nameservers: Some(vec![[10, 0, 0, bits].into()]),
                    ..Default::default()
                },
                revision: None,
                distributed: seed(turn as u128),
            }),
            7 => Box::new(DeleteSubnet { id: sub(n), revision: None }),
            8..=10 => {
                let mac = MacAddress([0xfa, 0x16, 0x3e, 0, 0, n as u8]);
                let plain = NewPort::plain(port(n), ALICE, Scope::All, net(m), mac, ids(0xdef));
                Box::new(CreatePort(NewPort { security_groups: Some(groups(bits)), binding_host: host(bits), ..plain }))
            }
            11 => Box::new(UpdatePort {
                id: port(n),
                scope: Scope::All,
                changes: PortChanges { security_groups: Some(groups(bits)), ..Default::default() },
                revision: None,
            }),
            12 => Box::new(UpdatePort {
                id: port(n),
                scope: Scope::All,
                changes: PortChanges { binding_host: Some(host(bits)), ..Default::default() },
                revision: None,
            }),
            13 => {
                let pair = WantedPair { ip_address: format!("192.0.2.{bits}"), mac_address: None };
                let changes = PortChanges { allowed_address_pairs: Some(vec![pair]), ..Default::default() };
                Box::new(UpdatePort { id: port(n), scope: Scope::All, changes, revision: None })
            }
            14 => Box::new(UpdatePort {
                id: port(n),
                scope: Scope::All,
                changes: PortChanges { fixed_ips: Some(vec![]), ..Default::default() },
                revision: None,
            }),
            15 => Box::new(DeletePort { id: port(n), revision: None }),
            16 => Box::new(super::security_group::CreateSecurityGroup { id: sg(n), ..group(0x900 + n % 3, &format!("g{}", n % 3)) }),
            17 => Box::new(DeleteSecurityGroup { id: sg(n), admin: true, revision: None }),
            18 => Box::new(UpdateSecurityGroup {
                id: sg(n),
                changes: SecurityGroupChanges { stateful: Some(on), ..Default::default() },
                revision: None,
            }),
            19..=21 => Box::new(AddRule {
                id: rule(m),
                group: sg(n),
                project: None,
                direction: Direction::Ingress,
                ethertype: Ethertype::V4,
                protocol: None,
                port_range_min: None,
                port_range_max: None,
                remote_ip_prefix: None,
                remote_group: Some(sg(u128::from(bits))),
                description: String::new(),
            }),
            _ => Box::new(RemoveRule { id: rule(m) }),
        }
    }
}

fn hosts() -> Vec<Event> {
    let inventory = || Inventory {
        vcpus: 1,
        memory: 1,
        disk: 1,
        hypervisor_type: "simulated".into(),
        hypervisor_version: 1,
        cpu_arch: "x86_64".into(),
        host_ip: "127.0.0.1".into(),
    };
    let host = |n: u8| HostEvent::HostJoined {
        id: HostName(format!("h{n}")),
        public_key: format!("U{n}"),
        zone: "nova".into(),
        inventory: inventory(),
    };
    (1..3).map(|n| host(n).into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_plan_that_changes_is_said_to_be_touched(
        asks in prop::collection::vec((0u8..24, 0u128..20, 0u128..20, any::<u8>()).prop_map(|(what, n, m, bits)| Ask { what, n, m, bits }), 1..80),
    ) {
        let start = given(hosts());
        let (mut cloud, now) = (start.cloud, start.now);
        let ground = [Ask { what: 0, n: 0, m: 0, bits: 0 }, Ask { what: 3, n: 0, m: 0, bits: 1 }, Ask { what: 16, n: 0, m: 0, bits: 0 },
            Ask { what: 16, n: 1, m: 0, bits: 0 }, Ask { what: 19, n: 0, m: 1, bits: 1 }, Ask { what: 8, n: 0, m: 0, bits: 1 }];
        for (turn, ask) in ground.into_iter().chain(asks).enumerate() {
            if !ask.is_new(&cloud) {
                continue;
            }
            let ctx = Context { now, actor: Actor::service("test"), request_id: "req-test".into(), caused_by: None };
            let Ok(events) = ask.command(turn).decide(&cloud, &ctx) else { continue };
            let before = cloud.clone();
            for event in &events {
                record(&mut cloud, event.clone(), now);
            }
            let touched: BTreeSet<Key> = events.iter().flat_map(|e| plan::touched(&before, &cloud, e)).collect();
            let (was, is) = (plan::all(&before), plan::all(&cloud));
            for key in was.keys().chain(is.keys()) {
                prop_assert!(was.get(key) == is.get(key) || touched.contains(key), "{} changed untold by {:?}", key.0, events);
                let one = plan::item(&cloud, key);
                prop_assert_eq!(one.as_ref(), is.get(key), "{}", key.0);
            }
        }
    }
}
