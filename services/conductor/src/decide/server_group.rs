//! What may be asked of a server group. Invariant 5: a project has no more groups than its quota.

use crate::{Class, Command, Context, Decision, Refusal, events};
use strata_events::server_group::{GroupPolicy, ServerGroupEvent};
use strata_events::{ProjectId, ServerGroupId, UserId};
use strata_projections::Cloud;

/// Makes a group.
#[derive(Debug, Clone)]
pub struct CreateServerGroup {
    pub id: ServerGroupId,
    pub project: ProjectId,
    pub user: UserId,
    pub name: String,
    pub policy: GroupPolicy,
    pub max_server_per_host: Option<u32>,
}

impl Command for CreateServerGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if self.max_server_per_host.is_some() && self.policy != GroupPolicy::AntiAffinity {
            return Err(Refusal::invalid("Only anti-affinity policy supports rules: drop the rules or choose that policy."));
        }
        let used = cloud.server_groups.of_project(&self.project).count() as u64;
        if !cloud.quotas.admits(&self.project, "compute.server_groups", used, 1) {
            return Err(Refusal::new(Class::OverQuota, "ServerGroupLimitExceeded", "Quota exceeded, too many server groups."));
        }
        Ok(events![ServerGroupEvent::ServerGroupCreated {
            id: self.id,
            project: self.project,
            user: self.user,
            name: self.name.clone(),
            policy: self.policy,
            max_server_per_host: self.max_server_per_host,
        }])
    }
}

/// Deletes a group; its members stay where they are.
#[derive(Debug, Clone)]
pub struct DeleteServerGroup {
    pub id: ServerGroupId,
}

impl Command for DeleteServerGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.server_groups.contains(&self.id) {
            return Err(Refusal::not_found("Instance group", self.id));
        }
        Ok(events![ServerGroupEvent::ServerGroupDeleted { id: self.id }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use uuid::Uuid;

    fn ask(n: u128) -> CreateServerGroup {
        CreateServerGroup {
            id: ServerGroupId(Uuid::from_u128(n)),
            project: ProjectId(Uuid::max()),
            user: UserId(Uuid::max()),
            name: "g".into(),
            policy: GroupPolicy::AntiAffinity,
            max_server_per_host: None,
        }
    }
    fn created(n: u128) -> strata_events::Event {
        let ask = ask(n);
        ServerGroupEvent::ServerGroupCreated {
            id: ask.id,
            project: ask.project,
            user: ask.user,
            name: ask.name,
            policy: ask.policy,
            max_server_per_host: None,
        }
        .into()
    }

    #[test]
    fn the_eleventh_group_is_over_quota() {
        given((0..10).map(created)).when(ask(10)).refused(Class::OverQuota, "too many server groups");
    }

    #[test]
    fn only_anti_affinity_takes_a_limit_per_host() {
        let ask = CreateServerGroup { policy: GroupPolicy::Affinity, max_server_per_host: Some(2), ..ask(1) };
        given([]).when(ask).refused(Class::Invalid, "Only anti-affinity");
    }

    #[test]
    fn a_deleted_group_is_gone() {
        let delete = DeleteServerGroup { id: ServerGroupId(Uuid::from_u128(1)) };
        let cloud = given([created(1)]).when(delete).accepted();
        assert!(cloud.server_groups.is_empty());
    }
}
