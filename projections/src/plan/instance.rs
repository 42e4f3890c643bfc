//! What a host should make of an instance.

use super::subnet::{self, PlannedSubnet};
use super::{Item, Key};
use crate::Cloud;
use crate::cloud::instance::{Instance, Wanted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strata_events::host::HostEvent;
use strata_events::image::ImageEvent;
use strata_events::instance::{InstanceEvent, Size};
use strata_events::port::{FixedIp, MacAddress};
use strata_events::{HostName, ImageId, InstanceId, NetworkId, PortId, ProjectId, SecretId, UserId};

pub const KIND: &str = "instance";

/// A NIC of the guest, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    pub port: PortId,
    pub network: NetworkId,
    pub mac: MacAddress,
    /// bytes
    pub mtu: u16,
    pub fixed_ips: Vec<FixedIp>,
    /// The subnets of these addresses.
    pub subnets: Vec<PlannedSubnet>,
    pub dns_domain: String,
}

/// The image that the root disk begins as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedImage {
    pub id: ImageId,
    pub disk_format: String,
    pub checksum: String,
    pub sha512: String,
    /// bytes
    pub size: u64,
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// The desired state of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstancePlan {
    pub id: InstanceId,
    /// A host refuses to start an older generation than the newest that it has seen.
    pub generation: u32,
    pub wanted: Wanted,
    /// Every port of it is plugged: it may be started.
    pub ready: bool,
    /// How many reboots were asked for in its life, and whether the last is hard.
    pub reboots: u32,
    pub reboot_hard: bool,
    /// How many operations were asked for in its life: when the host has seen to as many, what differs happened by itself.
    pub asks: u32,
    pub name: String,
    pub hostname: String,
    pub project: ProjectId,
    pub user: UserId,
    pub size: Size,
    pub image: Option<PlannedImage>,
    /// The image that the root disk should begin as, and that is there no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_gone: Option<ImageId>,
    pub key_name: Option<String>,
    pub public_key: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub config_drive: bool,
    pub user_data: Option<SecretId>,
    pub nics: Vec<Nic>,
    /// What the guest is told about itself and the host does nothing about: its zone, its place among those of one call,
    /// that call's reservation, and the names of its security groups.
    pub zone: String,
    pub launch_index: u32,
    pub reservation: String,
    pub security_groups: Vec<String>,
}

pub(super) fn plan(cloud: &Cloud, host: &HostName, i: &Instance) -> (Key, Item) {
    let image = i.spec.image.and_then(|id| cloud.images.planned(&id));
    let nics = i.spec.ports.iter().filter_map(|id| cloud.ports.get(id));
    let ready = i
        .spec
        .ports
        .iter()
        .all(|id| cloud.ports.get(id).is_some_and(|p| p.plugged() && p.binding.as_ref().is_some_and(|b| b.host == *host)));
    let plan = InstancePlan {
        id: i.id,
        generation: i.generation,
        wanted: i.wanted,
        ready,
        reboots: i.reboots,
        reboot_hard: i.reboot_hard,
        asks: i.asks,
        name: i.spec.name.clone(),
        hostname: i.spec.hostname.clone(),
        project: i.project,
        user: i.user,
        size: i.spec.size.clone(),
        image_gone: i.spec.image.filter(|_| image.is_none()),
        image,
        key_name: i.spec.key_name.clone(),
        public_key: i.spec.public_key.clone(),
        metadata: i.spec.metadata.clone(),
        config_drive: i.spec.config_drive,
        user_data: i.spec.user_data,
        zone: cloud.hosts.get(host).map(|h| h.zone.clone()).unwrap_or_default(),
        launch_index: i.spec.launch_index,
        reservation: i.spec.reservation.clone(),
        security_groups: security_groups(cloud, i),
        nics: nics
            .map(|p| Nic {
                port: p.id,
                network: p.network,
                mac: p.mac,
                mtu: cloud.networks.mtu(&p.network),
                fixed_ips: p.attributes.fixed_ips.clone(),
                subnets: subnet::of_addresses(cloud, &p.network, &p.attributes.fixed_ips),
                dns_domain: cloud.networks.get(&p.network).map(|n| n.attributes.dns_domain.clone()).unwrap_or_default(),
            })
            .collect(),
    };
    (Key::new(host, KIND, i.id), Item::Instance(Box::new(plan)))
}

/// The names of the security groups of all its ports, in order and each once.
fn security_groups(cloud: &Cloud, i: &Instance) -> Vec<String> {
    let ports = i.spec.ports.iter().filter_map(|id| cloud.ports.get(id));
    let groups = ports.flat_map(|p| p.attributes.security_groups.iter()).filter_map(|id| cloud.security_groups.get(id));
    groups.map(|g| g.name.clone()).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// A host that joins again may be in another zone.
pub(super) fn touched_by_host(after: &Cloud, event: &HostEvent) -> Vec<Key> {
    let HostEvent::HostJoined { id, .. } = event else { return vec![] };
    after.instances.on_host(id).map(|i| Key::new(id, KIND, i.id)).collect()
}

/// Servers that begin, or began, as this image.
pub(super) fn touched_by_image(after: &Cloud, event: &ImageEvent) -> Vec<Key> {
    let Ok(image) = event.stream_id().parse::<ImageId>() else { return vec![] };
    let of_it = after.instances.newest_first().filter(|i| i.spec.image == Some(image));
    of_it.filter_map(|i| i.host.as_ref().map(|h| Key::new(h, KIND, i.id))).collect()
}

pub(super) fn touched(before: &Cloud, after: &Cloud, event: &InstanceEvent) -> Vec<Key> {
    let Ok(id) = event.stream_id().parse() else { return vec![] };
    let own = keys(before, &id).chain(keys(after, &id));
    // Its ports tell DHCP its name: those that it has had, and those that it has.
    let named = |cloud: &Cloud| cloud.instances.get(&id).map(|i| (i.spec.hostname.clone(), i.spec.ports.clone()));
    let told = if named(before) == named(after) { vec![] } else { vec![before, after] };
    own.chain(told.into_iter().flat_map(|cloud| super::port::of_instance(cloud, &id))).collect()
}

/// The key of an instance on the host that it is placed on.
pub(super) fn keys(cloud: &Cloud, id: &InstanceId) -> impl Iterator<Item = Key> + use<> {
    cloud.instances.get(id).and_then(|i| i.host.as_ref().map(|h| Key::new(h, KIND, i.id))).into_iter()
}
