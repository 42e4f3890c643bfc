//! Plans: what should exist on each host, as values in the NATS bucket `PLANS` under `<host>.<kind>.<id>`. A plan is a pure
//! projection of `Cloud`. What shall not exist is said (`absent`) until the host reports it gone: a missing key means
//! nothing, so a wiped or half-filled bucket destroys nothing.

pub mod group;
pub mod instance;
pub mod port;
pub mod subnet;

use crate::Cloud;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strata_events::{Event, HostName};

/// The desired state of one thing on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    Instance(Box<instance::InstancePlan>),
    Port(Box<port::PortPlan>),
    Group(Box<group::GroupPlan>),
}

/// A value in the bucket. Two values are the same plan when their items are equal; `position` orders them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The log position that it reflects.
    pub position: u64,
    pub item: Item,
}

/// Key within the bucket: `<host>.<kind>.<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub String);

impl Key {
    pub fn new(host: &HostName, kind: &str, id: impl std::fmt::Display) -> Self {
        Key(format!("{host}.{kind}.{id}"))
    }
    /// The host that the key belongs to.
    pub fn host(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

/// Everything that one host should have.
pub fn of_host(cloud: &Cloud, host: &HostName) -> BTreeMap<Key, Item> {
    let instances = cloud.instances.on_host(host).map(|i| instance::plan(cloud, host, i));
    let ports = cloud.ports.on_host(host).map(|p| port::plan(cloud, host, p));
    let remnants = cloud.ports.remnants_on(host).map(|id| port::absent(host, id));
    let groups = group::on_host(cloud, host).map(|id| group::plan(cloud, host, id));
    instances.chain(ports).chain(remnants).chain(groups).collect()
}

/// Everything that every host should have.
pub fn all(cloud: &Cloud) -> BTreeMap<Key, Item> {
    cloud.hosts.values().flat_map(|h| of_host(cloud, &h.name)).collect()
}

/// The keys whose plan an event may have changed. `before` is the state just before it, `after` just after: a key that is in
/// neither `of_host` is to be removed. Saying too many is harmless.
pub fn touched(before: &Cloud, after: &Cloud, event: &Event) -> Vec<Key> {
    match event {
        Event::Instance(e) => instance::touched(before, after, e),
        Event::Host(e) => instance::touched_by_host(after, e),
        Event::Image(e) => instance::touched_by_image(after, e),
        Event::Port(e) => port::touched(before, after, e),
        Event::Network(_) | Event::Subnet(_) | Event::SecurityGroup(_) => port::touched_by_neighbour(before, after, event),
        _ => vec![],
    }
}

/// The plan of one key, if there is one.
pub fn item(cloud: &Cloud, key: &Key) -> Option<Item> {
    let mut parts = key.0.splitn(3, '.');
    let (host, kind, id) = (HostName(parts.next()?.into()), parts.next()?, parts.next()?);
    match kind {
        instance::KIND => {
            let instance = cloud.instances.get(&id.parse().ok()?).filter(|i| i.host.as_ref() == Some(&host))?;
            Some(instance::plan(cloud, &host, instance).1)
        }
        port::KIND => {
            let id = id.parse().ok()?;
            match cloud.ports.get(&id).filter(|p| p.binding.as_ref().is_some_and(|b| b.host == host)) {
                Some(port) => Some(port::plan(cloud, &host, port).1),
                None => cloud.ports.is_remnant(&host, &id).then(|| port::absent(&host, id).1),
            }
        }
        group::KIND => {
            let id = id.parse().ok()?;
            group::is_named(cloud, &host, &id).then(|| group::plan(cloud, &host, id).1)
        }
        _ => None,
    }
}
