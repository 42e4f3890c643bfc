//! Who has which role where, and what follows from it: [`Cloud::effective_roles`] is the one place that answers "may this user
//! act here, and as what". Invariant: one assignment per (role, assignee, target, inherited).

use super::{CannotApply, Cloud, Stamp};
use imbl::OrdSet;
use imbl::ordset::DiffItem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strata_events::assignment::{Assignee, AssignmentEvent, Target};
use strata_events::{ProjectId, RoleId, Stream, UserId};
use uuid::Uuid;

/// One role given to one assignee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    pub assignee: Assignee,
    pub target: Target,
    /// In the projects below the target, not there itself.
    pub inherited: bool,
    pub role: RoleId,
}

/// The live assignments, by assignee and by target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignments {
    grants: OrdSet<Grant>,
    by_target: OrdSet<(Target, Grant)>,
}

const FIRST_ROLE: RoleId = RoleId(Uuid::nil());
const FIRST_TARGET: Target = Target::Project(ProjectId(Uuid::nil()));

impl Assignments {
    /// What differs in a later copy, and whether it is there now.
    pub(crate) fn changes<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = (&'a Grant, bool)> {
        self.grants.diff(&later.grants).map(|change| match change {
            DiffItem::Add(grant) => (grant, true),
            DiffItem::Remove(grant) => (grant, false),
        })
    }
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }
    pub fn contains(&self, grant: &Grant) -> bool {
        self.grants.contains(grant)
    }
    /// All that one assignee was given.
    pub fn of(&self, assignee: Assignee) -> impl Iterator<Item = &Grant> {
        let first = Grant { assignee, target: FIRST_TARGET, inherited: false, role: FIRST_ROLE };
        self.grants.range(first..).take_while(move |g| g.assignee == assignee)
    }
    /// What one assignee was given at one place.
    pub fn at(&self, assignee: Assignee, target: Target, inherited: bool) -> impl Iterator<Item = RoleId> + use<'_> {
        let first = Grant { assignee, target, inherited, role: FIRST_ROLE };
        self.grants
            .range(first..)
            .take_while(move |g| g.assignee == assignee && g.target == target && g.inherited == inherited)
            .map(|g| g.role)
    }
    /// All that was given at one place.
    pub fn on(&self, target: Target) -> impl Iterator<Item = &Grant> {
        let first = Grant { assignee: Assignee::User(UserId(Uuid::nil())), target: FIRST_TARGET, inherited: false, role: FIRST_ROLE };
        self.by_target.range((target, first)..).take_while(move |(t, _)| *t == target).map(|(_, g)| g)
    }
    fn remove(&mut self, grant: &Grant) -> bool {
        self.by_target.remove(&(grant.target, *grant));
        self.grants.remove(grant).is_some()
    }
}

impl Cloud {
    /// The roles that a user has at a place: given directly or to a group, there or above, and all that those imply.
    pub fn effective_roles(&self, user: &UserId, target: &Target) -> BTreeSet<RoleId> {
        let mut roles = BTreeSet::new();
        let assignees = std::iter::once(Assignee::User(*user)).chain(self.groups.of_user(user).map(Assignee::Group));
        for assignee in assignees {
            roles.extend(self.assignments.at(assignee, *target, false));
            let Target::Project(project) = target else { continue };
            let Some(domain) = self.projects.get(project).map(|p| p.domain) else { continue };
            roles.extend(self.assignments.at(assignee, Target::Domain(domain), true));
            for above in self.projects.ancestors(project) {
                roles.extend(self.assignments.at(assignee, Target::Project(above.id), true));
            }
        }
        self.roles.closure(roles)
    }

    /// The names that those roles have in a token: a domain's own roles stand for what they imply and are left out.
    pub fn effective_role_names(&self, user: &UserId, target: &Target) -> Vec<(RoleId, String)> {
        self.role_names(self.effective_roles(user, target))
    }

    /// Ids and names of global roles, in the order of the ids.
    pub fn role_names(&self, roles: impl IntoIterator<Item = RoleId>) -> Vec<(RoleId, String)> {
        let global = roles.into_iter().filter_map(|id| self.roles.get(&id)).filter(|r| r.domain.is_none());
        global.map(|r| (r.id, r.name.clone())).collect()
    }
}

/// The assignee is gone, with all that it was given.
pub(super) fn drop_assignee(cloud: &mut Cloud, assignee: Assignee) {
    let all: Vec<Grant> = cloud.assignments.of(assignee).copied().collect();
    for grant in all {
        cloud.assignments.remove(&grant);
    }
    cloud.versions.remove(&super::stream_key(&Stream { kind: AssignmentEvent::KIND.into(), id: assignee.to_string() }));
}

/// The place is gone, with all that was given there.
pub(super) fn drop_target(cloud: &mut Cloud, target: Target) {
    let all: Vec<Grant> = cloud.assignments.on(target).copied().collect();
    for grant in all {
        cloud.assignments.remove(&grant);
    }
}

/// The role is gone, wherever it was given.
pub(super) fn drop_role(cloud: &mut Cloud, role: RoleId) {
    let all: Vec<Grant> = cloud.assignments.iter().filter(|g| g.role == role).copied().collect();
    for grant in all {
        cloud.assignments.remove(&grant);
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &AssignmentEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    match *event {
        AssignmentEvent::RoleGranted { id, role, target, inherited } => {
            cloud.roles.need(&role)?;
            match id {
                Assignee::User(user) => drop(cloud.users.need(&user)?),
                Assignee::Group(group) => drop(cloud.groups.need(&group)?),
            }
            match target {
                Target::Project(project) => drop(cloud.projects.need(&project)?),
                Target::Domain(domain) => drop(cloud.domains.need(&domain)?),
                Target::System => {}
            }
            let grant = Grant { assignee: id, target, inherited, role };
            cloud.assignments.by_target.insert((target, grant));
            match cloud.assignments.grants.insert(grant) {
                None => Ok(()),
                Some(_) => Err(CannotApply::because("the role was granted already")),
            }
        }
        AssignmentEvent::RoleRevoked { id, role, target, inherited } => {
            match cloud.assignments.remove(&Grant { assignee: id, target, inherited, role }) {
                true => Ok(()),
                false => Err(CannotApply::because("the role was not granted")),
            }
        }
    }
}
