//! Which host may have an instance: capacity, zone, the host asked for, hints and server groups. The scheduler filters by
//! this, and placement asks it again under the log's head (invariant 4).

use std::collections::{BTreeSet, HashMap};
use strata_events::server_group::GroupPolicy;
use strata_events::{HostName, InstanceId};
use strata_projections::Cloud;
use strata_projections::cloud::host::{Allocation, Host};
use strata_projections::cloud::instance::{Instance, Wanted};

/// What one instance asks of its host, looked up once.
pub struct Wishes<'a> {
    pub size: Allocation,
    zone: Option<&'a str>,
    wanted_host: Option<&'a HostName>,
    /// One of these, when given.
    only: Option<BTreeSet<HostName>>,
    none_of: BTreeSet<HostName>,
    /// Policy, the members' hosts with their counts, and the most on one host.
    group: Option<(GroupPolicy, HashMap<HostName, u32>, u32)>,
}

impl<'a> Wishes<'a> {
    /// `planned`: placements that are about to be asked for, as if they were made.
    pub fn of(cloud: &'a Cloud, instance: &'a Instance, planned: &HashMap<InstanceId, HostName>) -> Self {
        let spec = &instance.spec;
        let host_of = |i: &Instance| i.host.clone().or_else(|| planned.get(&i.id).cloned());
        let hosts_of = |hint: &str| -> Option<BTreeSet<HostName>> {
            let servers = match spec.hints.get(hint)? {
                serde_json::Value::String(one) => vec![one.as_str()],
                serde_json::Value::Array(some) => some.iter().filter_map(|v| v.as_str()).collect(),
                _ => return None,
            };
            let live = servers.iter().filter_map(|id| id.parse().ok()).filter_map(|id| cloud.instances.get(&id));
            // Only the project's own: a hint must not tell where somebody else's servers are.
            Some(live.filter(|i| i.project == instance.project).filter_map(|i| host_of(i)).collect())
        };
        let group = spec.group.and_then(|id| cloud.server_groups.get(&id)).map(|group| {
            let mut hosts = HashMap::new();
            let members = cloud.instances.of_group(&group.id).filter(|m| m.id != instance.id && m.wanted != Wanted::Absent);
            for host in members.filter_map(|m| host_of(m)) {
                *hosts.entry(host).or_insert(0) += 1;
            }
            (group.policy, hosts, group.max_server_per_host.unwrap_or(1))
        });
        Self {
            size: Allocation::of(&spec.size),
            zone: spec.zone.as_deref(),
            wanted_host: spec.wanted_host.as_ref(),
            only: hosts_of("same_host"),
            none_of: hosts_of("different_host").unwrap_or_default(),
            group,
        }
    }

    /// Why this host can't have it, with so much allocated there; none when it can. Whether the host is up is asked apart:
    /// that may change soon.
    pub fn why_not(&self, host: &Host, used: Allocation) -> Option<String> {
        if self.wanted_host.is_some_and(|wanted| *wanted != host.name) {
            return Some("is not the host that was asked for".into());
        }
        if !host.enabled {
            return Some("is disabled".into());
        }
        if host.forced_down {
            return Some("is forced down".into());
        }
        if let Some(zone) = self.zone.filter(|zone| *zone != host.zone) {
            return Some(format!("is in availability zone {}, not {zone}", host.zone));
        }
        if let Some(lack) = host.lacks_beside(used, self.size) {
            return Some(lack);
        }
        if self.only.as_ref().is_some_and(|hosts| !hosts.contains(&host.name)) {
            return Some("has none of the servers of the hint same_host".into());
        }
        if self.none_of.contains(&host.name) {
            return Some("has a server of the hint different_host".into());
        }
        match &self.group {
            Some((GroupPolicy::Affinity, hosts, _)) if !hosts.is_empty() && !hosts.contains_key(&host.name) => {
                Some("has no member of the server group, whose policy is affinity".into())
            }
            Some((GroupPolicy::AntiAffinity, hosts, most)) if hosts.get(&host.name).is_some_and(|n| n >= most) => {
                Some("has members of the server group, whose policy is anti-affinity".into())
            }
            _ => None,
        }
    }

    /// How well a host suits the group's soft policy: more is better.
    pub fn preference(&self, host: &Host) -> i64 {
        match &self.group {
            Some((GroupPolicy::SoftAffinity, hosts, _)) => hosts.get(&host.name).copied().unwrap_or(0).into(),
            Some((GroupPolicy::SoftAntiAffinity, hosts, _)) => -i64::from(hosts.get(&host.name).copied().unwrap_or(0)),
            _ => 0,
        }
    }
}
