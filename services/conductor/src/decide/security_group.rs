//! What may be asked of a security group and its rules. Invariants: each project has at most one group named `default`, made
//! when it is first needed; a group that a port uses stays; no two rules of a group say the same.

use super::network::{same_revision, within_quota};
use super::tags::{self, TagChange};
use crate::{Class, Command, Context, Decision, Refusal, events};
use ipnet::IpNet;
use std::sync::Arc;
use strata_events::security_group::{Direction, Ethertype, Rule, SecurityGroupEvent};
use strata_events::{Event, ProjectId, SecurityGroupId, SecurityGroupRuleId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::security_group::{DEFAULT, SecurityGroup};

pub use super::protocol::{PROTOCOLS, protocol_number};

pub fn not_found(id: &SecurityGroupId) -> Refusal {
    Refusal::new(Class::NotFound, "SecurityGroupNotFound", format!("Security group {id} does not exist"))
}
pub fn rule_not_found(id: &SecurityGroupRuleId) -> Refusal {
    Refusal::new(Class::NotFound, "SecurityGroupRuleNotFound", format!("Security group rule {id} does not exist"))
}

/// New ids for a project's default group, should it have to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultGroupIds {
    pub group: SecurityGroupId,
    pub rules: [SecurityGroupRuleId; 4],
}

/// A project's default group: the event that makes it, if it has none yet. Its ports may talk to each other and to everyone
/// outside; nobody outside may talk to them.
pub fn ensure_default(cloud: &Cloud, project: &ProjectId, ids: &DefaultGroupIds, now: Timestamp) -> Option<Event> {
    if cloud.security_groups.default_of(project).is_some() {
        return None;
    }
    let [egress4, egress6, ingress4, ingress6] = ids.rules;
    let rules = vec![
        open(egress4, Direction::Egress, Ethertype::V4, None, now),
        open(egress6, Direction::Egress, Ethertype::V6, None, now),
        open(ingress4, Direction::Ingress, Ethertype::V4, Some(ids.group), now),
        open(ingress6, Direction::Ingress, Ethertype::V6, Some(ids.group), now),
    ];
    Some(
        SecurityGroupEvent::SecurityGroupCreated {
            id: ids.group,
            project: *project,
            name: DEFAULT.into(),
            description: "Default security group".into(),
            stateful: true,
            rules,
            tags: vec![],
        }
        .into(),
    )
}

fn open(id: SecurityGroupRuleId, direction: Direction, ethertype: Ethertype, remote: Option<SecurityGroupId>, now: Timestamp) -> Rule {
    Rule {
        id,
        direction,
        ethertype,
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote_ip_prefix: None,
        remote_group: remote,
        description: String::new(),
        created_at: now,
    }
}

/// Makes the default group of a project, if it has none: whoever lists or names groups expects it.
#[derive(Debug, Clone)]
pub struct EnsureDefaultGroup {
    pub project: ProjectId,
    pub ids: DefaultGroupIds,
}

impl Command for EnsureDefaultGroup {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        Ok(ensure_default(cloud, &self.project, &self.ids, ctx.now).into_iter().collect())
    }
}

/// Makes a security group that lets everything out and nothing in.
#[derive(Debug, Clone)]
pub struct CreateSecurityGroup {
    pub id: SecurityGroupId,
    pub project: ProjectId,
    pub name: String,
    pub description: String,
    pub stateful: bool,
    pub rules: [SecurityGroupRuleId; 2],
    pub default_group: DefaultGroupIds,
}

impl Command for CreateSecurityGroup {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        if self.name == DEFAULT {
            return Err(Refusal::new(Class::Conflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists."));
        }
        let default = ensure_default(cloud, &self.project, &self.default_group, ctx.now);
        let groups = &cloud.security_groups;
        let made = u32::from(default.is_some());
        within_quota(cloud, &self.project, "security_group", groups.count(&self.project) + made, 1)?;
        within_quota(cloud, &self.project, "security_group_rule", groups.count_rules(&self.project) + 4 * made, 2)?;
        let [egress4, egress6] = self.rules;
        let created = SecurityGroupEvent::SecurityGroupCreated {
            id: self.id,
            project: self.project,
            name: self.name.clone(),
            description: self.description.clone(),
            stateful: self.stateful,
            rules: vec![
                open(egress4, Direction::Egress, Ethertype::V4, None, ctx.now),
                open(egress6, Direction::Egress, Ethertype::V6, None, ctx.now),
            ],
            tags: vec![],
        };
        Ok(default.into_iter().chain([created.into()]).collect())
    }
}

/// Changes what is given.
#[derive(Debug, Clone, Default)]
pub struct SecurityGroupChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub stateful: Option<bool>,
    pub tags: Option<TagChange>,
}

/// Changes a security group.
#[derive(Debug, Clone)]
pub struct UpdateSecurityGroup {
    pub id: SecurityGroupId,
    pub changes: SecurityGroupChanges,
    pub revision: Option<u32>,
}

impl Command for UpdateSecurityGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let group = cloud.security_groups.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, group.revision)?;
        let name = self.changes.name.clone().filter(|n| *n != group.name);
        if group.name == DEFAULT && name.is_some() {
            return Err(Refusal::new(Class::Conflict, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed."));
        }
        if name.as_deref() == Some(DEFAULT) {
            return Err(Refusal::new(Class::Conflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists."));
        }
        let description = self.changes.description.clone().filter(|d| *d != group.description);
        let stateful = self.changes.stateful.filter(|s| *s != group.stateful);
        if stateful.is_some() {
            unused(cloud, group)?;
        }
        let tags = Some(tags::changed(&group.tags, self.changes.tags.as_ref())?).filter(|t| *t != group.tags);
        if name.is_none() && description.is_none() && stateful.is_none() && tags.is_none() {
            return Ok(vec![]);
        }
        Ok(events![SecurityGroupEvent::SecurityGroupUpdated { id: self.id, name, description, stateful, tags }])
    }
}

fn unused(cloud: &Cloud, group: &SecurityGroup) -> Result<(), Refusal> {
    match cloud.ports.with_security_group(&group.id).next() {
        None => Ok(()),
        Some(_) => Err(Refusal::new(Class::Conflict, "SecurityGroupInUse", format!("Security Group {} in use.", group.id))),
    }
}

/// Deletes a group that no port uses, and the rules of other groups that name it.
#[derive(Debug, Clone)]
pub struct DeleteSecurityGroup {
    pub id: SecurityGroupId,
    /// Admins may delete a project's default group; it comes back when it is needed.
    pub admin: bool,
    pub revision: Option<u32>,
}

impl Command for DeleteSecurityGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let group = cloud.security_groups.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, group.revision)?;
        unused(cloud, group)?;
        if group.name == DEFAULT && !self.admin {
            let message = "Insufficient rights for removing default security group.";
            return Err(Refusal::new(Class::Conflict, "SecurityGroupCannotRemoveDefault", message));
        }
        let orphans = cloud.security_groups.rules_naming(&self.id).filter(|(holder, _)| *holder != self.id);
        let orphans = orphans.map(|(holder, rule)| Event::from(SecurityGroupEvent::SecurityGroupRuleRemoved { id: holder, rule }));
        Ok(orphans.chain([SecurityGroupEvent::SecurityGroupDeleted { id: self.id }.into()]).collect())
    }
}

/// A rule as it was asked for. Ports are wider than a port, so that what is out of range can be told.
#[derive(Debug, Clone)]
pub struct AddRule {
    pub id: SecurityGroupRuleId,
    pub group: SecurityGroupId,
    /// None is an admin: other projects' groups may be named as remote.
    pub project: Option<ProjectId>,
    pub direction: Direction,
    pub ethertype: Ethertype,
    /// Lower case; none is any.
    pub protocol: Option<String>,
    pub port_range_min: Option<i64>,
    pub port_range_max: Option<i64>,
    pub remote_ip_prefix: Option<IpNet>,
    pub remote_group: Option<SecurityGroupId>,
    pub description: String,
}

impl Command for AddRule {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let find = |id: &SecurityGroupId| -> Result<&Arc<SecurityGroup>, Refusal> {
            let seen = |g: &&Arc<SecurityGroup>| self.project.is_none_or(|p| g.project == p);
            cloud.security_groups.get(id).filter(seen).ok_or_else(|| not_found(id))
        };
        let group = find(&self.group)?;
        if let Some(remote) = &self.remote_group {
            if self.remote_ip_prefix.is_some() {
                let message = "Only remote_ip_prefix or remote_group_id may be provided.";
                return Err(Refusal::new(Class::Invalid, "SecurityGroupRemoteGroupAndRemoteIpPrefix", message));
            }
            find(remote)?;
        }
        let (port_range_min, port_range_max) = super::protocol::check(self)?;
        let rule = Rule {
            id: self.id,
            direction: self.direction,
            ethertype: self.ethertype,
            protocol: self.protocol.clone(),
            port_range_min,
            port_range_max,
            remote_ip_prefix: self.remote_ip_prefix,
            remote_group: self.remote_group,
            description: self.description.clone(),
            created_at: ctx.now,
        };
        if let Some(same) = group.rules.iter().find(|r| super::protocol::says(r) == super::protocol::says(&rule)) {
            let message = format!("Security group rule already exists. Rule id is {}.", same.id);
            return Err(Refusal::new(Class::Conflict, "SecurityGroupRuleExists", message));
        }
        within_quota(cloud, &group.project, "security_group_rule", cloud.security_groups.count_rules(&group.project), 1)?;
        Ok(events![SecurityGroupEvent::SecurityGroupRuleAdded { id: self.group, rule }])
    }
}

/// Takes a rule out of its group.
#[derive(Debug, Clone)]
pub struct RemoveRule {
    pub id: SecurityGroupRuleId,
}

impl Command for RemoveRule {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let group = cloud.security_groups.holding(&self.id).ok_or_else(|| rule_not_found(&self.id))?;
        Ok(events![SecurityGroupEvent::SecurityGroupRuleRemoved { id: group.id, rule: self.id }])
    }
}

#[cfg(test)]
#[path = "security_group_tests.rs"]
pub(crate) mod tests;
