//! How a server looks over HTTP, in every microversion. Written straight into the answer's bytes: a list of a thousand
//! servers is one pass over the state, with no tree of JSON values between.
//! Source: nova/api/openstack/compute/views/servers.py and doc/api_samples/servers.

use super::times::{NaiveMicros, Seconds};
use crate::frame::{Ctx, Microversion};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use sha2::{Digest, Sha224};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use strata_events::instance::{Operation, Power};
use strata_events::{HostName, ProjectId, SecurityGroupId};
use strata_projections::Cloud;
use strata_projections::cloud::instance::{Instance, State, Task};
use strata_projections::cloud::port::Port;

/// How much of a server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// id, name, links
    Brief,
    /// An item of the detailed list.
    Detail,
    /// One server alone.
    Show,
    /// The answer to an update before 2.75.
    Update,
}

/// What the views of one answer share.
pub struct Views<'a> {
    pub cloud: &'a Cloud,
    pub base: &'a str,
    pub version: Microversion,
    pub admin: bool,
    host_ids: RefCell<HashMap<(ProjectId, HostName), String>>,
}

impl<'a> Views<'a> {
    pub fn of(ctx: &'a Ctx, cloud: &'a Cloud) -> Self {
        Self { cloud, base: &ctx.base, version: ctx.version, admin: ctx.is_admin(), host_ids: RefCell::default() }
    }
    pub fn one(&'a self, instance: &'a Instance, level: Level) -> ServerView<'a> {
        ServerView { views: self, instance, level }
    }
    fn has(&self, minor: u16) -> bool {
        self.version >= Microversion(2, minor)
    }
    /// Nova's obfuscated host: it tells a project which of its servers are together, nothing else.
    fn host_id(&self, instance: &Instance) -> String {
        let Some(host) = &instance.host else { return String::new() };
        let mut known = self.host_ids.borrow_mut();
        let key = (instance.project, host.clone());
        known.entry(key).or_insert_with(|| host_id(&instance.project, host)).clone()
    }
}

/// SHA-224 of project and host.
pub fn host_id(project: &ProjectId, host: &HostName) -> String {
    use std::fmt::Write;
    let digest = Sha224::new().chain_update(project.to_string()).chain_update(&host.0).finalize();
    digest.iter().fold(String::with_capacity(56), |mut text, b| {
        // Writing to a String can't fail.
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// Nova's status.
pub fn status(instance: &Instance) -> &'static str {
    match (instance.state, instance.task) {
        (State::Active, Some(Task::Operation(Operation::RebootSoft))) => "REBOOT",
        (State::Active, Some(Task::Operation(Operation::RebootHard))) => "HARD_REBOOT",
        (State::Active, _) => "ACTIVE",
        (State::Building, _) => "BUILD",
        (State::Stopped, _) => "SHUTOFF",
        (State::Paused, _) => "PAUSED",
        (State::Suspended, _) => "SUSPENDED",
        (State::Error, _) => "ERROR",
    }
}

/// Nova's number of a power state.
pub fn power(instance: &Instance) -> u8 {
    match instance.power {
        None => 0,
        Some(Power::Running) => 1,
        Some(Power::Paused) => 3,
        Some(Power::Stopped) => 4,
        Some(Power::Crashed) => 6,
        Some(Power::Suspended) => 7,
    }
}

/// The zone that a server is in, or was asked to be in.
pub fn zone<'a>(cloud: &'a Cloud, instance: &'a Instance) -> &'a str {
    let host = instance.host.as_ref().and_then(|h| cloud.hosts.get(h));
    host.map(|h| h.zone.as_str()).or(instance.spec.zone.as_deref()).unwrap_or_default()
}

/// The name of a server's domain on its host.
pub fn domain_name(instance: &Instance) -> String {
    format!("instance-{}", &instance.id.0.simple().encode_lower(&mut uuid::Uuid::encode_buffer())[..8])
}

/// A server at some level of detail.
pub struct ServerView<'a> {
    views: &'a Views<'a>,
    instance: &'a Instance,
    level: Level,
}

impl Serialize for ServerView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (v, i, spec) = (self.views, self.instance, &*self.instance.spec);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &i.id)?;
        map.serialize_entry("name", &spec.name)?;
        map.serialize_entry("links", &Links { base: v.base, collection: "servers", id: &i.id })?;
        if self.level == Level::Brief {
            return map.end();
        }
        let status = status(i);
        let extended = self.level == Level::Show || self.level == Level::Detail;
        map.serialize_entry("status", status)?;
        map.serialize_entry("tenant_id", &i.project)?;
        map.serialize_entry("user_id", &i.user)?;
        map.serialize_entry("metadata", &spec.metadata)?;
        map.serialize_entry("hostId", &v.host_id(i))?;
        match &spec.image {
            Some(image) => map.serialize_entry("image", &Ref { id: image, base: v.base, collection: "images" })?,
            None => map.serialize_entry("image", "")?,
        }
        if v.has(47) {
            map.serialize_entry("flavor", &Size(i))?;
        } else {
            map.serialize_entry("flavor", &Ref { id: &spec.size.flavor, base: v.base, collection: "flavors" })?;
        }
        map.serialize_entry("created", &Seconds(i.created_at))?;
        map.serialize_entry("updated", &Seconds(i.updated_at))?;
        map.serialize_entry("addresses", &Addresses { cloud: v.cloud, instance: i, extended, only: None })?;
        match spec.access_ipv4 {
            Some(ip) => map.serialize_entry("accessIPv4", &ip)?,
            None => map.serialize_entry("accessIPv4", "")?,
        }
        match spec.access_ipv6 {
            Some(ip) => map.serialize_entry("accessIPv6", &ip)?,
            None => map.serialize_entry("accessIPv6", "")?,
        }
        map.serialize_entry("OS-DCF:diskConfig", if spec.disk_config_auto { "AUTO" } else { "MANUAL" })?;
        if status == "ERROR" {
            if let Some(fault) = &i.fault {
                map.serialize_entry("fault", &FaultView { fault, admin: v.admin })?;
            }
        } else if matches!(status, "ACTIVE" | "BUILD") {
            map.serialize_entry("progress", &0)?;
        }
        if extended {
            self.extended(&mut map)?;
        }
        if v.has(9) {
            map.serialize_entry("locked", &i.locked.is_some())?;
        }
        if v.has(19) {
            map.serialize_entry("description", &spec.description)?;
        }
        if v.has(26) {
            map.serialize_entry("tags", &spec.tags)?;
        }
        if v.has(63) {
            map.serialize_entry("trusted_image_certificates", &None::<()>)?;
        }
        if v.has(71) && self.level != Level::Detail {
            let group = spec.group.filter(|g| v.cloud.server_groups.contains(g));
            map.serialize_entry("server_groups", group.as_slice())?;
        }
        if v.has(73) {
            map.serialize_entry("locked_reason", &i.locked.as_ref().and_then(|l| l.reason.as_deref()))?;
        }
        map.end()
    }
}

impl ServerView<'_> {
    fn extended<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let (v, i, spec) = (self.views, self.instance, &*self.instance.spec);
        map.serialize_entry("OS-EXT-AZ:availability_zone", zone(v.cloud, i))?;
        map.serialize_entry("config_drive", if spec.config_drive { "True" } else { "" })?;
        map.serialize_entry("key_name", &spec.key_name)?;
        map.serialize_entry("OS-SRV-USG:launched_at", &i.launched_at.map(NaiveMicros))?;
        map.serialize_entry("OS-SRV-USG:terminated_at", &None::<()>)?;
        map.serialize_entry("OS-EXT-STS:task_state", &i.task.map(Task::word))?;
        map.serialize_entry("OS-EXT-STS:vm_state", i.state.word())?;
        map.serialize_entry("OS-EXT-STS:power_state", &power(i))?;
        map.serialize_entry("os-extended-volumes:volumes_attached", &[(); 0])?;
        let groups = security_groups(v.cloud, i);
        if !groups.is_empty() {
            map.serialize_entry("security_groups", &GroupNames { cloud: v.cloud, groups: &groups })?;
        }
        if v.admin {
            map.serialize_entry("OS-EXT-SRV-ATTR:host", &i.host)?;
            map.serialize_entry("OS-EXT-SRV-ATTR:hypervisor_hostname", &i.host)?;
            map.serialize_entry("OS-EXT-SRV-ATTR:instance_name", &domain_name(i))?;
            if v.has(3) {
                map.serialize_entry("OS-EXT-SRV-ATTR:reservation_id", &spec.reservation)?;
                map.serialize_entry("OS-EXT-SRV-ATTR:launch_index", &spec.launch_index)?;
                map.serialize_entry("OS-EXT-SRV-ATTR:hostname", &spec.hostname)?;
                map.serialize_entry("OS-EXT-SRV-ATTR:kernel_id", "")?;
                map.serialize_entry("OS-EXT-SRV-ATTR:ramdisk_id", "")?;
                map.serialize_entry("OS-EXT-SRV-ATTR:root_device_name", "/dev/vda")?;
                // Sealed for the host alone: no answer tells it, not even to an admin.
                map.serialize_entry("OS-EXT-SRV-ATTR:user_data", &None::<()>)?;
            }
            if v.has(16) {
                map.serialize_entry("host_status", host_status(v.cloud, i))?;
            }
        } else if v.has(90) {
            map.serialize_entry("OS-EXT-SRV-ATTR:hostname", &spec.hostname)?;
        }
        if v.has(96) {
            map.serialize_entry("pinned_availability_zone", &spec.zone)?;
        }
        Ok(())
    }
}

/// How the host of a server does.
pub fn host_status(cloud: &Cloud, instance: &Instance) -> &'static str {
    match instance.host.as_ref().and_then(|h| cloud.hosts.get(h)) {
        None => "",
        Some(host) if host.forced_down => "DOWN",
        Some(host) if !host.up => "UNKNOWN",
        Some(host) if !host.enabled => "MAINTENANCE",
        Some(_) => "UP",
    }
}

/// The security groups of a server's ports, each once.
pub fn security_groups(cloud: &Cloud, instance: &Instance) -> Vec<SecurityGroupId> {
    let mut groups: Vec<SecurityGroupId> = vec![];
    for port in instance.spec.ports.iter().filter_map(|id| cloud.ports.get(id)) {
        for group in &port.attributes.security_groups {
            if !groups.contains(group) {
                groups.push(*group);
            }
        }
    }
    groups
}

struct GroupNames<'a> {
    cloud: &'a Cloud,
    groups: &'a [SecurityGroupId],
}
impl Serialize for GroupNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Named<'a> {
            name: &'a str,
        }
        let named = self.groups.iter().filter_map(|id| self.cloud.security_groups.get(id));
        serializer.collect_seq(named.map(|g| Named { name: &g.name }))
    }
}

/// `self` and `bookmark`.
pub struct Links<'a, I> {
    pub base: &'a str,
    pub collection: &'a str,
    pub id: &'a I,
}
#[derive(serde::Serialize)]
struct Link<'a> {
    rel: &'static str,
    href: &'a str,
}
impl<I: std::fmt::Display> Serialize for Links<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { base, collection, id } = self;
        let mut seq = serializer.serialize_seq(Some(2))?;
        seq.serialize_element(&Link { rel: "self", href: &format!("{base}/compute/v2.1/{collection}/{id}") })?;
        seq.serialize_element(&Link { rel: "bookmark", href: &format!("{base}/compute/{collection}/{id}") })?;
        seq.end()
    }
}

/// An id with its bookmark.
struct Ref<'a, I> {
    id: &'a I,
    base: &'a str,
    collection: &'a str,
}
impl<I: std::fmt::Display + Serialize> Serialize for Ref<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, base, collection } = self;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("links", &[Link { rel: "bookmark", href: &format!("{base}/compute/{collection}/{id}") }])?;
        map.end()
    }
}

/// The flavor as it was, from 2.47 on.
struct Size<'a>(&'a Instance);
impl Serialize for Size<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let size = &self.0.spec.size;
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("original_name", &size.name)?;
        map.serialize_entry("vcpus", &size.vcpus)?;
        map.serialize_entry("ram", &size.ram)?;
        map.serialize_entry("disk", &size.disk)?;
        map.serialize_entry("ephemeral", &size.ephemeral)?;
        map.serialize_entry("swap", &size.swap)?;
        map.serialize_entry("extra_specs", &size.extra_specs)?;
        map.end()
    }
}

struct FaultView<'a> {
    fault: &'a strata_projections::cloud::instance::Fault,
    admin: bool,
}
impl Serialize for FaultView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.fault.code)?;
        map.serialize_entry("created", &Seconds(self.fault.at))?;
        map.serialize_entry("message", &self.fault.message)?;
        if let Some(details) = self.fault.details.as_ref().filter(|_| self.admin) {
            map.serialize_entry("details", details)?;
        }
        map.end()
    }
}

/// A server's addresses by the name of their network. Hidden while it is built.
pub struct Addresses<'a> {
    pub cloud: &'a Cloud,
    pub instance: &'a Instance,
    /// With type and MAC.
    pub extended: bool,
    /// One network's.
    pub only: Option<&'a str>,
}
impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (label, ports) in self.networks() {
            map.serialize_entry(label, &PortAddresses { ports: &ports, extended: self.extended })?;
        }
        map.end()
    }
}
impl<'a> Addresses<'a> {
    /// The ports by network, in the order of the NICs.
    pub fn networks(&self) -> Vec<(&'a str, Vec<&'a Port>)> {
        let mut networks: Vec<(&str, Vec<&Port>)> = vec![];
        if self.instance.state == State::Building {
            return networks;
        }
        for port in self.instance.spec.ports.iter().filter_map(|id| self.cloud.ports.get(id)) {
            let label = self.cloud.networks.get(&port.network).map_or("", |n| n.attributes.name.as_str());
            if self.only.is_some_and(|only| only != label) {
                continue;
            }
            match networks.iter_mut().find(|(l, _)| *l == label) {
                Some((_, ports)) => ports.push(port),
                None => networks.push((label, vec![port])),
            }
        }
        networks
    }
}
struct PortAddresses<'a> {
    ports: &'a [&'a Port],
    extended: bool,
}
impl Serialize for PortAddresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct One<'a>(IpAddr, &'a Port, bool);
        impl Serialize for One<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("version", &if self.0.is_ipv4() { 4 } else { 6 })?;
                map.serialize_entry("addr", &self.0)?;
                if self.2 {
                    map.serialize_entry("OS-EXT-IPS:type", "fixed")?;
                    map.serialize_entry("OS-EXT-IPS-MAC:mac_addr", &self.1.mac)?;
                }
                map.end()
            }
        }
        let all = self.ports.iter().flat_map(|p| p.attributes.fixed_ips.iter().map(move |f| (f.ip, *p)));
        serializer.collect_seq(all.map(|(ip, port)| One(ip, port, self.extended)))
    }
}

#[cfg(test)]
#[path = "server_view_tests.rs"]
mod tests;
