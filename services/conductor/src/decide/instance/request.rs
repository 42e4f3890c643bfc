//! Asking for servers: one decision for all the servers of a call, with their ports. Invariants: usage never passes quota,
//! and there is no half-made server (5, 9).

use super::change::{TAGS, metadata_within};
use super::networks::{self, Device, NicTarget, PortSeed, WantedNetworks};
use super::{BUILD_SECS, Refusal};
use crate::decide::address::Taken;
use crate::decide::security_group::DefaultGroupIds;
use crate::{Class, Command, Context, Decision};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use strata_events::image::Visibility;
use strata_events::instance::{InstanceEvent, InstanceSpec, Size};
use strata_events::{FlavorId, HostName, ImageId, InstanceId, ProjectId, SecretId, ServerGroupId, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::flavor::Flavor;
use strata_projections::cloud::image::{Image, ImageStatus};

/// The new ids of one server.
#[derive(Debug, Clone)]
pub struct NewInstance {
    pub id: InstanceId,
    /// As many as it may need: one for each network asked for, at least one.
    pub ports: Vec<PortSeed>,
}

/// Asks for one server or several alike.
#[derive(Debug, Clone)]
pub struct RequestInstances {
    /// As many as are wanted at most.
    pub instances: Vec<NewInstance>,
    /// Fewer than this are not worth it.
    pub min_count: usize,
    pub project: ProjectId,
    pub user: UserId,
    pub admin: bool,
    pub name: String,
    pub description: Option<String>,
    pub hostname: Option<String>,
    pub flavor: FlavorId,
    pub image: ImageId,
    pub key_name: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub networks: WantedNetworks,
    /// Names or ids; none is the project's default.
    pub security_groups: Vec<String>,
    /// For a project whose default security group has to be made first.
    pub default_group: DefaultGroupIds,
    pub config_drive: bool,
    pub user_data: Option<SecretId>,
    pub disk_config_auto: Option<bool>,
    pub access_ipv4: Option<Ipv4Addr>,
    pub access_ipv6: Option<Ipv6Addr>,
    pub zone: Option<String>,
    pub wanted_host: Option<HostName>,
    pub hints: Map<String, Value>,
    pub group: Option<ServerGroupId>,
    pub reservation: String,
}

impl Command for RequestInstances {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let flavor = self.flavor(cloud)?;
        let image = self.image(cloud)?;
        self.check_sizes(flavor, image)?;
        let public_key = self.public_key(cloud)?;
        metadata_within(cloud, &self.project, self.metadata.len())?;
        if self.tags.len() > TAGS {
            return Err(Refusal::invalid(format!("The number of tags exceeded the per-server limit {TAGS}")));
        }
        if self.hostname.is_some() && self.instances.len() > 1 {
            return Err(Refusal::invalid("Unable to allocate a single hostname to multiple instances"));
        }
        self.check_place(cloud)?;
        let nics = networks::resolve(cloud, self)?;
        let security_groups = networks::security_groups(cloud, &self.project, &self.security_groups)?;
        let count = self.admitted(cloud, flavor)?;
        self.check_group(cloud, count)?;

        let mandatory = image.attributes.properties.get("img_config_drive").is_some_and(|v| v == "mandatory");
        let mut events = vec![];
        let mut taken = Taken::default();
        for (index, new) in self.instances.iter().take(count).enumerate() {
            let name = if self.instances.len() > 1 { format!("{}-{}", self.name, index + 1) } else { self.name.clone() };
            let (ports, own_ports) = networks::ids(&nics, &new.ports);
            let spec = InstanceSpec {
                description: self.description.clone(),
                hostname: self.hostname.clone().unwrap_or_else(|| hostname(&name, &new.id)),
                name,
                size: size(flavor),
                image: Some(image.id),
                key_name: self.key_name.clone(),
                public_key: public_key.clone(),
                metadata: self.metadata.clone(),
                tags: self.tags.clone(),
                ports,
                own_ports,
                config_drive: self.config_drive || mandatory,
                user_data: self.user_data,
                disk_config_auto: self.disk_config_auto.unwrap_or(false),
                access_ipv4: self.access_ipv4,
                access_ipv6: self.access_ipv6,
                zone: self.zone.clone(),
                wanted_host: self.wanted_host.clone(),
                hints: self.hints.clone(),
                group: self.group,
                reservation: self.reservation.clone(),
                launch_index: u32::try_from(index).unwrap_or(u32::MAX),
            };
            let deadline = ctx.now.plus_secs(BUILD_SECS);
            events.push(InstanceEvent::InstanceRequested { id: new.id, project: self.project, user: self.user, spec, deadline }.into());
            let device = Device {
                id: new.id,
                project: self.project,
                owner: networks::owner(self.zone.as_deref()),
                admin: self.admin,
                security_groups: &security_groups,
                default_group: self.default_group,
            };
            let mut seeds = new.ports.iter();
            for nic in &nics {
                let seed = matches!(nic, NicTarget::Network { .. }).then(|| seeds.next()).flatten();
                events.extend(networks::plug(cloud, ctx.now, &device, nic, seed, &mut taken)?);
            }
        }
        Ok(events)
    }
}

impl RequestInstances {
    fn flavor<'a>(&self, cloud: &'a Cloud) -> Result<&'a Flavor, Refusal> {
        let flavor = cloud.flavors.get(&self.flavor).filter(|f| self.admin || f.open_to(&self.project));
        flavor.map(|f| &**f).ok_or_else(|| Refusal::invalid(format!("Flavor {} could not be found.", self.flavor)))
    }

    fn image<'a>(&self, cloud: &'a Cloud) -> Result<&'a Image, Refusal> {
        let seen = |i: &&std::sync::Arc<Image>| {
            self.admin
                || i.owner == self.project
                || matches!(i.attributes.visibility, Visibility::Public | Visibility::Community)
                || (i.attributes.visibility == Visibility::Shared && i.members.iter().any(|m| m.project == self.project))
        };
        let image = cloud.images.get(&self.image).filter(seen).ok_or_else(|| Refusal::invalid("Can not find requested image"))?;
        if image.status != ImageStatus::Active {
            return Err(Refusal::invalid(format!("Image {} is not active.", self.image)));
        }
        Ok(image)
    }

    fn check_sizes(&self, flavor: &Flavor, image: &Image) -> Result<(), Refusal> {
        const GIB: u64 = 1 << 30;
        if flavor.ram < image.attributes.min_ram {
            return Err(Refusal::invalid("Flavor's memory is too small for requested image."));
        }
        if flavor.disk == 0 {
            // The guest's root disk would be as large as the image says, which nobody bounded.
            return if self.admin {
                Ok(())
            } else {
                Err(Refusal::forbidden("Only volume-backed servers are allowed for flavors with zero disk."))
            };
        }
        let disk = flavor.disk.saturating_mul(GIB);
        let size = image.data.as_ref().map_or(0, |d| d.virtual_size.unwrap_or(d.size).max(d.size));
        if size > disk {
            return Err(Refusal::invalid(format!(
                "Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {size} bytes."
            )));
        }
        let min_disk = image.attributes.min_disk.saturating_mul(GIB);
        if min_disk > disk {
            return Err(Refusal::invalid(format!(
                "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {disk} bytes, minimum size is {min_disk} bytes."
            )));
        }
        Ok(())
    }

    fn public_key(&self, cloud: &Cloud) -> Result<Option<String>, Refusal> {
        let Some(name) = &self.key_name else { return Ok(None) };
        match cloud.keypairs.get(&self.user, name) {
            Some(key) => Ok(Some(key.public_key.clone())),
            None => Err(Refusal::invalid("Invalid key_name provided.")),
        }
    }

    fn check_place(&self, cloud: &Cloud) -> Result<(), Refusal> {
        if let Some(host) = &self.wanted_host
            && !cloud.hosts.contains(host)
        {
            return Err(Refusal::invalid(format!("Compute host {host} could not be found.")));
        }
        if let Some(zone) = &self.zone
            && !cloud.hosts.values().any(|h| h.zone == *zone && h.enabled)
        {
            return Err(Refusal::invalid("The requested availability zone is not available"));
        }
        Ok(())
    }

    fn check_group(&self, cloud: &Cloud, more: usize) -> Result<(), Refusal> {
        let Some(id) = self.group else { return Ok(()) };
        if !cloud.server_groups.get(&id).is_some_and(|g| g.project == self.project || self.admin) {
            return Err(Refusal::invalid(format!("Instance group {id} could not be found.")));
        }
        let members = cloud.instances.of_group(&id).count() as u64;
        if !cloud.quotas.admits(&self.project, "compute.server_group_members", members, more as u64) {
            return Err(Refusal::new(Class::OverQuota, "OverQuota", "Quota exceeded, too many servers in group"));
        }
        Ok(())
    }

    /// How many of the servers the quotas allow; fewer than the least wanted are refused with Nova's sentence.
    fn admitted(&self, cloud: &Cloud, flavor: &Flavor) -> Result<usize, Refusal> {
        let usage = cloud.instances.usage(&self.project);
        let resources = |count: u64| {
            [
                ("cores", u64::from(usage.cores), count * u64::from(flavor.vcpus)),
                ("instances", u64::from(usage.instances), count),
                ("ram", usage.ram, count * flavor.ram),
            ]
        };
        let fits = |(name, used, more): &(&str, u64, u64)| cloud.quotas.admits(&self.project, &format!("compute.{name}"), *used, *more);
        let least = self.min_count.max(1);
        if let Some(count) = (least..=self.instances.len()).rev().find(|n| resources(*n as u64).iter().all(fits)) {
            return Ok(count);
        }
        let over: Vec<_> = resources(least as u64).into_iter().filter(|r| !fits(r)).collect();
        let list = |f: &dyn Fn(&(&str, u64, u64)) -> String| over.iter().map(f).collect::<Vec<_>>().join(", ");
        let names = list(&|r| r.0.to_owned());
        let requested = list(&|r| r.2.to_string());
        let used = list(&|r| r.1.to_string());
        let allowed = list(&|r| cloud.quotas.limit(&self.project, &format!("compute.{}", r.0)).to_string());
        let message = format!("Quota exceeded for {names}: Requested {requested}, but already used {used} of {allowed} {names}");
        Err(Refusal::new(Class::OverQuota, "TooManyInstances", message))
    }
}

fn size(flavor: &Flavor) -> Size {
    Size {
        flavor: flavor.id.clone(),
        name: flavor.name.clone(),
        vcpus: flavor.vcpus,
        ram: flavor.ram,
        disk: flavor.disk,
        ephemeral: flavor.ephemeral,
        swap: flavor.swap,
        extra_specs: flavor.extra_specs.clone(),
    }
}

/// A host name for the guest made of the server's name (nova/utils.py, sanitize_hostname).
fn hostname(name: &str, id: &InstanceId) -> String {
    let mapped = name.chars().filter_map(|c| match c {
        ' ' | '_' | '.' => Some('-'),
        c if c.is_ascii_alphanumeric() || c == '-' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    let clean: String = mapped.collect();
    let clean = clean.trim_matches('-');
    let short: String = clean.chars().take(63).collect();
    let short = short.trim_end_matches('-');
    if short.is_empty() { format!("server-{id}") } else { short.to_owned() }
}
