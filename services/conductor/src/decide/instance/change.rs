//! What a user may say about an instance without its host: names, metadata, tags, locks. And an admin's word on its state.

use super::{find, in_state, launched, unlocked};
use crate::{Class, Command, Context, Decision, Refusal, events};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use strata_events::InstanceId;
use strata_events::instance::InstanceEvent;
use strata_projections::Cloud;
use strata_projections::cloud::instance::{Instance, State, Wanted};

/// How many tags an instance may have (Nova's MAX_TAG_COUNT).
pub const TAGS: usize = 50;

const SETTLED: &[State] = &[State::Active, State::Paused, State::Suspended, State::Stopped];

/// Changes what is given; the rest stays.
#[derive(Debug, Clone)]
pub struct UpdateInstance {
    pub id: InstanceId,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub hostname: Option<String>,
    pub disk_config_auto: Option<bool>,
    pub access_ipv4: Option<Option<Ipv4Addr>>,
    pub access_ipv6: Option<Option<Ipv6Addr>>,
}

impl Command for UpdateInstance {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let id = self.id;
        let spec = &find(cloud, &id)?.spec;
        let name = self.name.clone().filter(|n| *n != spec.name);
        let description = self.description.clone().filter(|d| *d != spec.description);
        let hostname = self.hostname.clone().filter(|h| *h != spec.hostname);
        let disk_config_auto = self.disk_config_auto.filter(|d| *d != spec.disk_config_auto);
        let access_ipv4 = self.access_ipv4.filter(|a| *a != spec.access_ipv4);
        let access_ipv6 = self.access_ipv6.filter(|a| *a != spec.access_ipv6);
        let names = name.is_some() || description.is_some() || hostname.is_some();
        if !names && disk_config_auto.is_none() && access_ipv4.is_none() && access_ipv6.is_none() {
            return Ok(vec![]);
        }
        Ok(events![InstanceEvent::InstanceUpdated { id, name, description, hostname, disk_config_auto, access_ipv4, access_ipv6 }])
    }
}

/// How metadata change.
#[derive(Debug, Clone)]
pub enum MetadataChange {
    Replace(BTreeMap<String, String>),
    Merge(BTreeMap<String, String>),
    Remove(String),
}

/// Changes an instance's metadata.
#[derive(Debug, Clone)]
pub struct SetMetadata {
    pub id: InstanceId,
    pub change: MetadataChange,
    pub admin: bool,
}

impl Command for SetMetadata {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        let action = if matches!(self.change, MetadataChange::Remove(_)) { "delete metadata" } else { "update metadata" };
        unlocked(instance, self.admin)?;
        in_state(instance, action, SETTLED)?;
        launched(instance, action)?;
        let metadata = match &self.change {
            MetadataChange::Replace(all) => all.clone(),
            MetadataChange::Merge(some) => {
                let mut metadata = instance.spec.metadata.clone();
                metadata.extend(some.clone());
                metadata
            }
            MetadataChange::Remove(key) => {
                let mut metadata = instance.spec.metadata.clone();
                if metadata.remove(key).is_none() {
                    return Err(Refusal::new(Class::NotFound, "NotFound", "Metadata item was not found"));
                }
                metadata
            }
        };
        check_metadata(cloud, instance, &metadata)?;
        if metadata == instance.spec.metadata {
            return Ok(vec![]);
        }
        Ok(events![InstanceEvent::InstanceMetadataSet { id: self.id, metadata }])
    }
}

fn check_metadata(cloud: &Cloud, instance: &Instance, metadata: &BTreeMap<String, String>) -> Result<(), Refusal> {
    metadata_within(cloud, &instance.project, metadata.len())
}

/// Whether so many metadata items are within the project's limit.
pub(super) fn metadata_within(cloud: &Cloud, project: &strata_events::ProjectId, items: usize) -> Result<(), Refusal> {
    if cloud.quotas.admits(project, "compute.metadata_items", 0, items as u64) {
        return Ok(());
    }
    let limit = cloud.quotas.limit(project, "compute.metadata_items");
    Err(Refusal::new(Class::OverQuota, "MetadataLimitExceeded", format!("Maximum number of metadata items exceeds {limit}")))
}

/// How tags change.
#[derive(Debug, Clone)]
pub enum TagsChange {
    Replace(Vec<String>),
    Add(String),
    Remove(String),
}

/// Changes an instance's tags.
#[derive(Debug, Clone)]
pub struct SetTags {
    pub id: InstanceId,
    pub change: TagsChange,
}

impl Command for SetTags {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        in_state(instance, "update tags", SETTLED)?;
        let mut tags = instance.spec.tags.clone();
        match &self.change {
            TagsChange::Replace(all) => {
                tags.clear();
                for tag in all.iter() {
                    if !tags.contains(tag) {
                        tags.push(tag.clone());
                    }
                }
            }
            TagsChange::Add(tag) if tags.contains(tag) => {}
            TagsChange::Add(tag) => tags.push(tag.clone()),
            TagsChange::Remove(tag) => match tags.iter().position(|t| t == tag) {
                Some(at) => drop(tags.remove(at)),
                None => {
                    let message = format!("Server {} has no tag '{tag}'", self.id);
                    return Err(Refusal::new(Class::NotFound, "InstanceTagNotFound", message));
                }
            },
        }
        if tags.len() > TAGS {
            return Err(Refusal::invalid(format!("The number of tags exceeded the per-server limit {TAGS}")));
        }
        if tags == instance.spec.tags {
            return Ok(vec![]);
        }
        Ok(events![InstanceEvent::InstanceTagsSet { id: self.id, tags }])
    }
}

/// Locks an instance: only admins act on it until it is unlocked.
#[derive(Debug, Clone)]
pub struct LockInstance {
    pub id: InstanceId,
    /// An admin who is not of the instance's project locks it; its owner can't unlock it then.
    pub by_admin: bool,
    pub reason: Option<String>,
}

impl Command for LockInstance {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        find(cloud, &self.id)?;
        Ok(events![InstanceEvent::InstanceLocked { id: self.id, by_admin: self.by_admin, reason: self.reason.clone() }])
    }
}

/// Unlocks an instance.
#[derive(Debug, Clone)]
pub struct UnlockInstance {
    pub id: InstanceId,
    pub admin: bool,
}

impl Command for UnlockInstance {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        match &instance.locked {
            None => Ok(vec![]),
            Some(lock) if lock.by_admin && !self.admin => {
                Err(Refusal::forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed."))
            }
            Some(_) => Ok(events![InstanceEvent::InstanceUnlocked { id: self.id }]),
        }
    }
}

/// An admin says that an instance is well or not; its host's next report says what is true.
#[derive(Debug, Clone)]
pub struct ResetState {
    pub id: InstanceId,
    pub error: bool,
}

impl Command for ResetState {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        if instance.host.is_none() || instance.wanted == Wanted::Absent {
            let why = "it has no host that could tell its state, or is being deleted";
            return Err(Refusal::conflict(format!("The state of instance {} can't be reset: {why}.", self.id)));
        }
        launched(instance, "reset state")?;
        let state = if self.error { State::Error } else { State::Active };
        if instance.state == state && instance.task.is_none() {
            return Ok(vec![]);
        }
        Ok(events![InstanceEvent::InstanceStateReset { id: self.id, error: self.error }])
    }
}
