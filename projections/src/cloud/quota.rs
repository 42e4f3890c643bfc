//! Quotas: how much a project may use, and how much it does. Invariant: usage never passes a limit (5); decisions ask
//! [`Quotas::admits`] under the log's head.

use super::{CannotApply, Cloud, Stamp, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strata_events::ProjectId;
use strata_events::quota::QuotaEvent;

/// What a project may have when nobody said otherwise: the defaults of the services themselves. -1 is no limit.
pub const DEFAULTS: &[(&str, i64)] = &[
    ("compute.cores", 20),
    ("compute.injected_file_content_bytes", 10_240),
    ("compute.injected_file_path_bytes", 255),
    ("compute.injected_files", 5),
    ("compute.instances", 10),
    ("compute.key_pairs", 100),
    ("compute.metadata_items", 128),
    ("compute.ram", 51_200),
    ("compute.server_group_members", 10),
    ("compute.server_groups", 10),
    ("network.network", 100),
    ("network.port", 500),
    ("network.security_group", 10),
    ("network.security_group_rule", 100),
    ("network.subnet", 100),
];

/// Limits set for this project hold for every project that has none of its own (Nova's quota class `default`).
pub const EVERY_PROJECT: ProjectId = ProjectId(uuid::Uuid::nil());

/// The limits that were set, by project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
    set: Table<ProjectId, BTreeMap<String, i64>>,
}

impl Quotas {
    pub(crate) fn table(&self) -> &Table<ProjectId, BTreeMap<String, i64>> {
        &self.set
    }
    /// A project's limit on `<service>.<resource>`; -1 is none. What has no default is not limited.
    pub fn limit(&self, project: &ProjectId, resource: &str) -> i64 {
        self.set.get(project).and_then(|set| set.get(resource)).copied().unwrap_or_else(|| self.default_limit(resource))
    }
    /// The limit of a project that has none of its own.
    pub fn default_limit(&self, resource: &str) -> i64 {
        let class = self.set.get(&EVERY_PROJECT).and_then(|set| set.get(resource)).copied();
        class.or_else(|| DEFAULTS.iter().find(|(name, _)| *name == resource).map(|(_, limit)| *limit)).unwrap_or(-1)
    }
    /// Whether a project that has `used` may have `more`.
    pub fn admits(&self, project: &ProjectId, resource: &str, used: u64, more: u64) -> bool {
        let limit = self.limit(project, resource);
        u64::try_from(limit).map_or(true, |limit| used.saturating_add(more) <= limit)
    }
    /// The projects for which limits of a service were set.
    pub fn projects_with(&self, service: &str) -> impl Iterator<Item = ProjectId> {
        let prefix = format!("{service}.");
        self.set
            .iter()
            .filter(move |(id, set)| **id != EVERY_PROJECT && set.keys().any(|name| name.starts_with(&prefix)))
            .map(|(id, _)| *id)
    }
    /// The resources of a service that have limits, without the service's name, with their built-in defaults.
    pub fn resources(service: &str) -> impl Iterator<Item = (&'static str, i64)> {
        DEFAULTS.iter().filter_map(move |(name, limit)| Some((name.strip_prefix(service)?.strip_prefix('.')?, *limit)))
    }
}

/// How much of a resource a project has now; none when it isn't counted by project.
pub fn used(cloud: &Cloud, project: &ProjectId, resource: &str) -> Option<u64> {
    let instances = || cloud.instances.usage(project);
    Some(match resource {
        "compute.cores" => instances().cores.into(),
        "compute.instances" => instances().instances.into(),
        "compute.ram" => instances().ram,
        "network.network" => cloud.networks.count(project).into(),
        "network.port" => cloud.ports.count(project).into(),
        "network.security_group" => cloud.security_groups.count(project).into(),
        "network.security_group_rule" => cloud.security_groups.count_rules(project).into(),
        "network.subnet" => cloud.subnets.count(project).into(),
        _ => return None,
    })
}

pub(super) fn apply(cloud: &mut Cloud, event: &QuotaEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let quotas = &mut cloud.quotas;
    match event {
        QuotaEvent::QuotaSet { id, limits } => {
            let mut set = quotas.set.get(id).map(|s| BTreeMap::clone(s)).unwrap_or_default();
            set.extend(limits.clone());
            quotas.set.put(*id, set);
        }
        QuotaEvent::QuotaReset { id, service } => {
            let prefix = format!("{service}.");
            let mut set = quotas.set.get(id).map(|s| BTreeMap::clone(s)).unwrap_or_default();
            set.retain(|name, _| !name.starts_with(&prefix));
            if set.is_empty() {
                let _ = quotas.set.remove(id);
            } else {
                quotas.set.put(*id, set);
            }
        }
    }
    Ok(())
}
