//! Giving and taking roles. Both are idempotent in effect; taking what was not given is refused, as Keystone does.

use super::identity::not_found;
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::DomainId;
use strata_events::assignment::{Assignee, AssignmentEvent, Target};
use strata_projections::Cloud;
use strata_projections::cloud::assignment::Grant;

/// Gives a role.
#[derive(Debug, Clone)]
pub struct GrantRole(pub Grant);

impl Command for GrantRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Grant { assignee, target, inherited, role } = self.0;
        parties(cloud, &self.0)?;
        let its = cloud.roles.get(&role).ok_or_else(|| not_found("role", role))?;
        if let (Some(domain), Some(place)) = (its.domain, place(cloud, target))
            && domain != place
        {
            return Err(Refusal::forbidden(format!("The place must be in the same domain as the role {role} being assigned.")));
        }
        if its.domain.is_some() && target == Target::System {
            return Err(Refusal::forbidden("Role assignments on the system take global roles, not a domain's."));
        }
        if cloud.assignments.contains(&self.0) {
            return Ok(vec![]);
        }
        Ok(events![AssignmentEvent::RoleGranted { id: assignee, role, target, inherited }])
    }
}

/// Takes a role back.
#[derive(Debug, Clone)]
pub struct RevokeRole(pub Grant);

impl Command for RevokeRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Grant { assignee, target, inherited, role } = self.0;
        if !cloud.assignments.contains(&self.0) {
            return Err(missing(&self.0));
        }
        Ok(events![AssignmentEvent::RoleRevoked { id: assignee, role, target, inherited }])
    }
}

/// The sentence for an assignment that isn't there.
pub fn missing(grant: &Grant) -> Refusal {
    let who = match grant.assignee {
        Assignee::User(user) => user.to_string(),
        Assignee::Group(group) => group.to_string(),
    };
    let place = match grant.target {
        Target::Project(project) => project.to_string(),
        Target::Domain(domain) => domain.to_string(),
        Target::System => "system".into(),
    };
    not_found("role assignment with role", format_args!("{}, user or group: {who}, project, domain, or system: {place}", grant.role))
}

fn place(cloud: &Cloud, target: Target) -> Option<DomainId> {
    match target {
        Target::Project(project) => cloud.projects.get(&project).map(|p| p.domain),
        Target::Domain(domain) => Some(domain),
        Target::System => None,
    }
}

/// Who and where must exist.
fn parties(cloud: &Cloud, grant: &Grant) -> Result<(), Refusal> {
    match grant.assignee {
        Assignee::User(user) if !cloud.users.contains(&user) => return Err(not_found("user", user)),
        Assignee::Group(group) if !cloud.groups.contains(&group) => return Err(not_found("group", group)),
        _ => {}
    }
    match grant.target {
        Target::Project(project) if !cloud.projects.contains(&project) => Err(not_found("project", project)),
        Target::Domain(domain) if !cloud.domains.contains(&domain) => Err(not_found("domain", domain)),
        _ => Ok(()),
    }
}
