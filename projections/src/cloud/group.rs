//! Groups of users. Invariant: a group's name is unique in its domain.

use super::project::Given;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::assignment::Assignee;
use strata_events::group::GroupEvent;
use strata_events::{DomainId, GroupId, UserId};
use uuid::Uuid;

/// Users who get roles together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    pub domain: DomainId,
    pub name: String,
    pub description: String,
}

/// The live groups and who is in them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    all: Table<GroupId, Group>,
    by_name: OrdMap<(DomainId, String), GroupId>,
    members: OrdSet<(GroupId, UserId)>,
    memberships: OrdSet<(UserId, GroupId)>,
}

impl std::ops::Deref for Groups {
    type Target = Table<GroupId, Group>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Groups {
    pub fn by_name(&self, domain: &DomainId, name: &str) -> Option<&Arc<Group>> {
        self.by_name.get(&(*domain, name.to_owned())).and_then(|id| self.all.get(id))
    }
    /// Those of one domain, by name.
    pub fn of_domain(&self, domain: &DomainId) -> impl Iterator<Item = &Arc<Group>> {
        self.by_name.range((*domain, String::new())..).take_while(move |((d, _), _)| d == domain).filter_map(|(_, id)| self.all.get(id))
    }
    pub fn has_member(&self, group: &GroupId, user: &UserId) -> bool {
        self.members.contains(&(*group, *user))
    }
    pub fn members(&self, group: &GroupId) -> impl Iterator<Item = UserId> + use<'_> {
        let group = *group;
        self.members.range((group, UserId(Uuid::nil()))..).take_while(move |(g, _)| *g == group).map(|(_, u)| *u)
    }
    /// The groups that a user is in.
    pub fn of_user(&self, user: &UserId) -> impl Iterator<Item = GroupId> + use<'_> {
        let user = *user;
        self.memberships.range((user, GroupId(Uuid::nil()))..).take_while(move |(u, _)| *u == user).map(|(_, g)| *g)
    }
}

/// The user is gone: out of every group.
pub(super) fn drop_member(cloud: &mut Cloud, user: &UserId) {
    let of: Vec<GroupId> = cloud.groups.of_user(user).collect();
    for group in of {
        cloud.groups.members.remove(&(group, *user));
        cloud.groups.memberships.remove(&(*user, group));
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &GroupEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let groups = &mut cloud.groups;
    match event {
        GroupEvent::GroupCreated { id, domain, name, description } => {
            cloud.domains.need(domain)?;
            if groups.by_name.insert((*domain, name.clone()), *id).is_some() {
                return Err(CannotApply::because(format!("a group of the domain is called {name:?} already")));
            }
            groups.all.add(*id, Group { id: *id, domain: *domain, name: name.clone(), description: description.clone() })
        }
        GroupEvent::GroupUpdated { id, name, description } => {
            if let Some(name) = name {
                let old = groups.all.need(id)?;
                let domain = old.domain;
                groups.by_name.remove(&(domain, old.name.clone()));
                if groups.by_name.insert((domain, name.clone()), *id).is_some() {
                    return Err(CannotApply::because(format!("a group of the domain is called {name:?} already")));
                }
            }
            groups.all.change(id, |g| {
                name.clone_into_some(&mut g.name);
                description.clone_into_some(&mut g.description);
            })
        }
        GroupEvent::GroupMemberAdded { id, user } => {
            groups.all.need(id)?;
            cloud.users.need(user)?;
            groups.memberships.insert((*user, *id));
            match groups.members.insert((*id, *user)) {
                None => Ok(()),
                Some(_) => Err(CannotApply::because("the user is in the group already")),
            }
        }
        GroupEvent::GroupMemberRemoved { id, user } => {
            groups.memberships.remove(&(*user, *id));
            match groups.members.remove(&(*id, *user)) {
                Some(_) => Ok(()),
                None => Err(CannotApply::because("the user is not in the group")),
            }
        }
        GroupEvent::GroupDeleted { id } => {
            let group = groups.all.remove(id)?;
            groups.by_name.remove(&(group.domain, group.name.clone()));
            let members: Vec<UserId> = groups.members(id).collect();
            for user in members {
                groups.members.remove(&(*id, user));
                groups.memberships.remove(&(user, *id));
            }
            super::assignment::drop_assignee(cloud, Assignee::Group(*id));
            cloud.end_of_stream(GroupEvent::KIND, id.0);
            Ok(())
        }
    }
}
