//! What may be asked of a group of users.

use super::identity::{duplicate, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::group::GroupEvent;
use strata_events::{DomainId, GroupId, UserId};
use strata_projections::Cloud;

/// Makes a group.
#[derive(Debug, Clone)]
pub struct CreateGroup {
    pub id: GroupId,
    pub domain: DomainId,
    pub name: String,
    pub description: String,
}

impl Command for CreateGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.domains.contains(&self.domain) {
            return Err(not_found("domain", self.domain));
        }
        if cloud.groups.contains(&self.id) || cloud.groups.by_name(&self.domain, &self.name).is_some() {
            return Err(taken(&self.domain, &self.name));
        }
        Ok(events![GroupEvent::GroupCreated {
            id: self.id,
            domain: self.domain,
            name: self.name.clone(),
            description: self.description.clone(),
        }])
    }
}

fn taken(domain: &DomainId, name: &str) -> Refusal {
    duplicate("group", format_args!("Duplicate entry found with name {name} at domain ID {domain}"))
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdateGroup {
    pub id: GroupId,
    pub name: Option<String>,
    pub description: Option<String>,
}

impl Command for UpdateGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let group = cloud.groups.get(&self.id).ok_or_else(|| not_found("group", self.id))?;
        let name = self.name.clone().filter(|n| *n != group.name);
        if let Some(name) = &name
            && cloud.groups.by_name(&group.domain, name).is_some()
        {
            return Err(taken(&group.domain, name));
        }
        Ok(events![GroupEvent::GroupUpdated { id: self.id, name, description: self.description.clone() }])
    }
}

/// Deletes a group; its members keep what they have otherwise.
#[derive(Debug, Clone)]
pub struct DeleteGroup {
    pub id: GroupId,
}

impl Command for DeleteGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.groups.contains(&self.id) {
            true => Ok(events![GroupEvent::GroupDeleted { id: self.id }]),
            false => Err(not_found("group", self.id)),
        }
    }
}

/// Puts a user into a group.
#[derive(Debug, Clone)]
pub struct AddMember {
    pub group: GroupId,
    pub user: UserId,
}

impl Command for AddMember {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.groups.contains(&self.group) {
            return Err(not_found("group", self.group));
        }
        if !cloud.users.contains(&self.user) {
            return Err(not_found("user", self.user));
        }
        if cloud.groups.has_member(&self.group, &self.user) {
            return Ok(vec![]);
        }
        Ok(events![GroupEvent::GroupMemberAdded { id: self.group, user: self.user }])
    }
}

/// Takes a user out of a group.
#[derive(Debug, Clone)]
pub struct RemoveMember {
    pub group: GroupId,
    pub user: UserId,
}

impl Command for RemoveMember {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.groups.contains(&self.group) {
            return Err(not_found("group", self.group));
        }
        match cloud.groups.has_member(&self.group, &self.user) {
            true => Ok(events![GroupEvent::GroupMemberRemoved { id: self.group, user: self.user }]),
            false => Err(not_found("user", format_args!("{} in group {}", self.user, self.group))),
        }
    }
}
