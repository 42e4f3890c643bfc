//! The addresses behind a security group that rules name as their remote, for each host that has a port with such a rule. It
//! stands beside the ports, not in them: a group of a thousand members is said once a host and not once a port, and a member
//! that comes changes no port's plan. A key that is gone means nothing to the host: no rule names the group any more.

use super::{Item, Key};
use crate::Cloud;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strata_events::port::PortEvent;
use strata_events::{HostName, PortId, SecurityGroupId};

pub const KIND: &str = "group";

/// Where the members of a group may send from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    pub id: SecurityGroupId,
    /// The members' addresses and address pairs: disjoint, in order, without host bits.
    pub members: Vec<IpNet>,
}

pub(super) fn plan(cloud: &Cloud, host: &HostName, id: SecurityGroupId) -> (Key, Item) {
    let members = cloud.ports.with_security_group(&id).flat_map(|port| {
        let own = port.attributes.fixed_ips.iter().map(|f| IpNet::from(f.ip));
        let pairs = port.attributes.allowed_address_pairs.iter().filter_map(|p| super::port::parsed(&p.ip_address));
        own.chain(pairs).collect::<Vec<_>>()
    });
    let members = IpNet::aggregate(&members.collect());
    (Key::new(host, KIND, id), Item::Group(Box::new(GroupPlan { id, members })))
}

/// The groups that the rules of a host's ports name.
pub(super) fn on_host<'a>(cloud: &'a Cloud, host: &HostName) -> impl Iterator<Item = SecurityGroupId> + use<'a> {
    let holders: BTreeSet<SecurityGroupId> = cloud.ports.on_host(host).flat_map(|p| p.attributes.security_groups.iter().copied()).collect();
    holders.iter().flat_map(|id| named(cloud, id)).collect::<BTreeSet<_>>().into_iter()
}

/// Whether a rule of a port on this host names the group.
pub(super) fn is_named(cloud: &Cloud, host: &HostName, id: &SecurityGroupId) -> bool {
    cloud.security_groups.rules_naming(id).any(|(holder, _)| cloud.ports.group_is_on(&holder, host))
}

/// The groups that a group's rules name.
fn named(cloud: &Cloud, holder: &SecurityGroupId) -> Vec<SecurityGroupId> {
    let rules = cloud.security_groups.get(holder).map(|g| g.rules.iter().filter_map(|r| r.remote_group).collect());
    rules.unwrap_or_default()
}

/// A port came, went, moved, or changed its addresses or groups.
pub(super) fn touched_by_port(before: &Cloud, after: &Cloud, event: &PortEvent, id: &PortId) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    if matches!(event, PortEvent::PortPlugged { .. } | PortEvent::PortPlugFailed { .. } | PortEvent::PortUnplugged { .. }) {
        return keys;
    }
    // What the port's own rules name may be needed on its host, or no more.
    for cloud in [before, after] {
        if let Some((port, binding)) = cloud.ports.get(id).and_then(|p| Some((p, p.binding.as_ref()?))) {
            let named = port.attributes.security_groups.iter().flat_map(|g| named(cloud, g));
            keys.extend(named.map(|g| Key::new(&binding.host, KIND, g)));
        }
    }
    // What it is a member of has other members now.
    let membership = |cloud: &Cloud| {
        cloud.ports.get(id).map(|p| {
            let a = &p.attributes;
            (a.fixed_ips.clone(), a.allowed_address_pairs.clone(), a.security_groups.clone())
        })
    };
    let (was, is) = (membership(before), membership(after));
    if was != is {
        for group in was.iter().chain(&is).flat_map(|(_, _, groups)| groups).collect::<BTreeSet<_>>() {
            keys.extend(naming(before, group).chain(naming(after, group)));
        }
    }
    keys
}

/// A group's rules changed: it may name others on the hosts of its ports.
pub(super) fn touched_by_group(before: &Cloud, after: &Cloud, holder: &SecurityGroupId) -> Vec<Key> {
    let remotes: BTreeSet<SecurityGroupId> = named(before, holder).into_iter().chain(named(after, holder)).collect();
    let hosts: BTreeSet<&HostName> = before.ports.hosts_of_group(holder).chain(after.ports.hosts_of_group(holder)).collect();
    hosts.iter().flat_map(|host| remotes.iter().map(|g| Key::new(host, KIND, g))).collect()
}

/// The keys of a group: the hosts of the ports whose rules name it.
fn naming<'a>(cloud: &'a Cloud, id: &'a SecurityGroupId) -> impl Iterator<Item = Key> + 'a {
    let holders: BTreeSet<SecurityGroupId> = cloud.security_groups.rules_naming(id).map(|(holder, _)| holder).collect();
    holders.into_iter().flat_map(|h| cloud.ports.hosts_of_group(&h).cloned().collect::<Vec<_>>()).map(move |host| Key::new(&host, KIND, id))
}
