//! Security groups. Invariant: each project has at most one named `default`.

use super::counts::Counts;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::security_group::{Rule, SecurityGroupEvent};
use strata_events::{ProjectId, SecurityGroupId, SecurityGroupRuleId, Timestamp};

/// A security group as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub project: ProjectId,
    pub name: String,
    pub description: String,
    pub stateful: bool,
    /// In the order in which they were added.
    pub rules: Vec<Rule>,
    pub tags: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u32,
}

/// The name of the group that every project has and that ports get when none is named.
pub const DEFAULT: &str = "default";

/// The live security groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroups {
    all: Table<SecurityGroupId, SecurityGroup>,
    by_project: OrdSet<(ProjectId, SecurityGroupId)>,
    rules: OrdMap<SecurityGroupRuleId, SecurityGroupId>,
    /// Rules by the group that they name as remote.
    by_remote: OrdSet<(SecurityGroupId, SecurityGroupRuleId)>,
    defaults: OrdMap<ProjectId, SecurityGroupId>,
    counts: Counts,
    rule_counts: Counts,
}

impl std::ops::Deref for SecurityGroups {
    type Target = Table<SecurityGroupId, SecurityGroup>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl SecurityGroups {
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<SecurityGroup>> {
        let project = *project;
        let first = (project, SecurityGroupId(uuid::Uuid::nil()));
        self.by_project.range(first..).take_while(move |(p, _)| *p == project).filter_map(|(_, id)| self.all.get(id))
    }
    /// A project's group named `default`, once something made it.
    pub fn default_of(&self, project: &ProjectId) -> Option<&Arc<SecurityGroup>> {
        self.all.get(self.defaults.get(project)?)
    }
    /// How many a project has.
    pub fn count(&self, project: &ProjectId) -> u32 {
        self.counts.of(project)
    }
    /// How many rules a project's groups have together.
    pub fn count_rules(&self, project: &ProjectId) -> u32 {
        self.rule_counts.of(project)
    }
    /// The rules, of any group, that name this group as remote, each with the group that holds it.
    pub fn rules_naming(&self, remote: &SecurityGroupId) -> impl Iterator<Item = (SecurityGroupId, SecurityGroupRuleId)> {
        let remote = *remote;
        let first = (remote, SecurityGroupRuleId(uuid::Uuid::nil()));
        self.by_remote.range(first..).take_while(move |(r, _)| *r == remote).filter_map(|(_, rule)| Some((*self.rules.get(rule)?, *rule)))
    }
    /// The group that holds a rule.
    pub fn holding(&self, rule: &SecurityGroupRuleId) -> Option<&Arc<SecurityGroup>> {
        self.rules.get(rule).and_then(|id| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &SecurityGroupEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let groups = &mut cloud.security_groups;
    match event {
        SecurityGroupEvent::SecurityGroupCreated { id, project, name, description, stateful, rules, tags } => {
            groups.by_project.insert((*project, *id));
            groups.rules.extend(rules.iter().map(|r| (r.id, *id)));
            groups.by_remote.extend(rules.iter().filter_map(|r| Some((r.remote_group?, r.id))));
            groups.counts.add(project, 1);
            groups.rule_counts.add(project, rules.len());
            if name == DEFAULT && groups.defaults.insert(*project, *id).is_some() {
                return Err(CannotApply::because(format!("project {project} has two default security groups")));
            }
            groups.all.add(
                *id,
                SecurityGroup {
                    id: *id,
                    project: *project,
                    name: name.clone(),
                    description: description.clone(),
                    stateful: *stateful,
                    rules: rules.clone(),
                    tags: tags.clone(),
                    created_at: stamp.at,
                    updated_at: stamp.at,
                    revision: 1,
                },
            )
        }
        SecurityGroupEvent::SecurityGroupUpdated { id, name, description, stateful, tags } => groups.all.change(id, |g| {
            name.clone().map(|n| g.name = n);
            description.clone().map(|d| g.description = d);
            stateful.map(|s| g.stateful = s);
            tags.clone().map(|t| g.tags = t);
            g.updated_at = stamp.at;
            g.revision += 1;
        }),
        SecurityGroupEvent::SecurityGroupRuleAdded { id, rule } => {
            groups.rules.insert(rule.id, *id);
            rule.remote_group.and_then(|remote| groups.by_remote.insert((remote, rule.id)));
            groups.rule_counts.add(&groups.all.need(id)?.project, 1);
            groups.all.change(id, |g| {
                g.rules.push(rule.clone());
                g.updated_at = stamp.at;
                g.revision += 1;
            })
        }
        SecurityGroupEvent::SecurityGroupRuleRemoved { id, rule } => {
            groups.rules.remove(rule);
            groups.rule_counts.take(&groups.all.need(id)?.project, 1);
            let remote = groups.all.need(id)?.rules.iter().find(|r| r.id == *rule).and_then(|r| r.remote_group);
            remote.and_then(|remote| groups.by_remote.remove(&(remote, *rule)));
            groups.all.change(id, |g| {
                g.rules.retain(|r| r.id != *rule);
                g.updated_at = stamp.at;
                g.revision += 1;
            })
        }
        SecurityGroupEvent::SecurityGroupDeleted { id } => {
            let group = groups.all.remove(id)?;
            groups.by_project.remove(&(group.project, *id));
            groups.counts.take(&group.project, 1);
            groups.rule_counts.take(&group.project, group.rules.len());
            if groups.defaults.get(&group.project) == Some(id) {
                groups.defaults.remove(&group.project);
            }
            for rule in &group.rules {
                groups.rules.remove(&rule.id);
                rule.remote_group.and_then(|remote| groups.by_remote.remove(&(remote, rule.id)));
            }
            cloud.end_of_stream(SecurityGroupEvent::KIND, id.0);
            Ok(())
        }
    }
}
