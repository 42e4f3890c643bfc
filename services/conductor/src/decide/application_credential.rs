//! What may be asked of an application credential. The rule: it never has a role that its maker's token had not
//! (CVE-2020-12689 and kin), at its making or later.

use super::identity::{duplicate, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use std::collections::BTreeSet;
use strata_events::access_rule::AccessRuleEvent;
use strata_events::application_credential::ApplicationCredentialEvent;
use strata_events::assignment::Target;
use strata_events::{AccessRuleId, ApplicationCredentialId, ProjectId, RoleId, Timestamp, UserId};
use strata_projections::Cloud;

/// A call that the credential may be used for; with the id that the rule gets if the user has no such rule yet.
#[derive(Debug, Clone)]
pub struct Allowed {
    pub id: AccessRuleId,
    pub service: String,
    pub method: String,
    pub path: String,
}

/// Makes a secret with a subset of the user's roles in one project.
#[derive(Clone)]
pub struct CreateApplicationCredential {
    pub id: ApplicationCredentialId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub description: Option<String>,
    /// argon2id, in PHC string format.
    pub secret_hash: String,
    pub roles: Vec<RoleId>,
    /// The roles of the token that asked.
    pub has: BTreeSet<RoleId>,
    pub expires_at: Option<Timestamp>,
    pub unrestricted: bool,
    pub access_rules: Vec<Allowed>,
}

impl std::fmt::Debug for CreateApplicationCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateApplicationCredential").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Command for CreateApplicationCredential {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        if !cloud.users.contains(&self.user) {
            return Err(not_found("user", self.user));
        }
        if !cloud.projects.contains(&self.project) {
            return Err(not_found("project", self.project));
        }
        if cloud.application_credentials.by_name(&self.user, &self.name).is_some() {
            return Err(duplicate("application_credential", format_args!("Duplicate entry found with name {}", self.name)));
        }
        if self.expires_at.is_some_and(|at| at <= ctx.now) {
            return Err(Refusal::invalid(
                "The 'expires_at' must not be before now. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.",
            ));
        }
        let has = cloud.effective_roles(&self.user, &Target::Project(self.project));
        if let Some(role) = self.roles.iter().find(|r| !has.contains(r) || !self.has.contains(r)) {
            return Err(Refusal::invalid(format!(
                "Invalid application credential: Could not find role assignment with role: {role}, user or group: {}, project, domain, or system: {}.",
                self.user, self.project
            )));
        }
        if self.roles.is_empty() {
            return Err(Refusal::invalid("An application credential needs at least one role that its user has in the project."));
        }
        let mut events = vec![];
        let mut rules: Vec<AccessRuleId> = vec![];
        for (i, ask) in self.access_rules.iter().enumerate() {
            let same = |o: &&Allowed| o.service == ask.service && o.method == ask.method && o.path == ask.path;
            if self.access_rules[..i].iter().any(|o| same(&o)) {
                continue;
            }
            match cloud.access_rules.like(&self.user, &ask.service, &ask.method, &ask.path) {
                Some(id) => rules.push(id),
                None => {
                    rules.push(ask.id);
                    events.extend(events![AccessRuleEvent::AccessRuleCreated {
                        id: ask.id,
                        user: self.user,
                        service: ask.service.clone(),
                        method: ask.method.clone(),
                        path: ask.path.clone(),
                    }]);
                }
            }
        }
        events.extend(events![ApplicationCredentialEvent::ApplicationCredentialCreated {
            id: self.id,
            user: self.user,
            project: self.project,
            name: self.name.clone(),
            description: self.description.clone(),
            secret_hash: self.secret_hash.clone(),
            roles: self.roles.clone(),
            expires_at: self.expires_at,
            unrestricted: self.unrestricted,
            access_rules: rules,
        }]);
        Ok(events)
    }
}

/// Forgets one.
#[derive(Debug, Clone)]
pub struct DeleteApplicationCredential {
    pub user: UserId,
    pub id: ApplicationCredentialId,
}

impl Command for DeleteApplicationCredential {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.application_credentials.get(&self.id).filter(|c| c.user == self.user) {
            Some(_) => Ok(events![ApplicationCredentialEvent::ApplicationCredentialDeleted { id: self.id }]),
            None => Err(not_found("Application Credential", self.id)),
        }
    }
}

/// Forgets an access rule that no credential uses.
#[derive(Debug, Clone)]
pub struct DeleteAccessRule {
    pub user: UserId,
    pub id: AccessRuleId,
}

impl Command for DeleteAccessRule {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if cloud.access_rules.get(&self.id).is_none_or(|r| r.user != self.user) {
            return Err(not_found("Access Rule", self.id));
        }
        if cloud.application_credentials.of(&self.user).any(|c| c.access_rules.contains(&self.id)) {
            return Err(Refusal::forbidden(
                "You are not authorized to perform the requested action: access rule in use by an application credential; delete that first.",
            ));
        }
        Ok(events![AccessRuleEvent::AccessRuleDeleted { id: self.id }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{assignment::*, project::*, role::*, user::*};
    use crate::{Class, testing::given};
    use proptest::prelude::*;
    use strata_events::assignment::Assignee;
    use strata_events::domain::DomainEvent;
    use strata_events::{Actor, DomainId, Event};
    use strata_projections::cloud::assignment::Grant;
    use uuid::Uuid;

    const USER: UserId = UserId(Uuid::from_u128(1));
    const PROJECT: ProjectId = ProjectId(Uuid::from_u128(2));

    fn role(n: u8) -> RoleId {
        RoleId(Uuid::from_u128(100 + u128::from(n)))
    }
    fn credential(roles: Vec<RoleId>, has: BTreeSet<RoleId>) -> CreateApplicationCredential {
        CreateApplicationCredential {
            id: ApplicationCredentialId(Uuid::from_u128(7)),
            user: USER,
            project: PROJECT,
            name: "key".into(),
            description: None,
            secret_hash: "$argon2id$".into(),
            roles,
            has,
            expires_at: None,
            unrestricted: false,
            access_rules: vec![],
        }
    }
    fn add(cloud: &mut Cloud, command: impl Command) {
        let ctx = Context { now: Timestamp(1), actor: Actor::service("test"), request_id: String::new(), caused_by: None };
        for event in command.decide(cloud, &ctx).into_iter().flatten() {
            crate::testing::record(cloud, event, Timestamp(1));
        }
    }
    fn cloud(granted: &[u8], implications: &[(u8, u8)]) -> Cloud {
        let default: Event = DomainEvent::DomainCreated {
            id: DomainId::DEFAULT,
            name: "Default".into(),
            description: String::new(),
            enabled: true,
            tags: vec![],
            options: Default::default(),
            extra: Default::default(),
        }
        .into();
        let mut cloud = given([default]).cloud;
        let user = CreateUser {
            id: USER,
            domain: DomainId::DEFAULT,
            name: "alice".into(),
            enabled: true,
            description: None,
            password_hash: None,
            default_project: None,
            options: Default::default(),
            extra: Default::default(),
        };
        let project = CreateProject {
            id: PROJECT,
            domain: DomainId::DEFAULT,
            parent: None,
            name: "lab".into(),
            description: String::new(),
            enabled: true,
            tags: vec![],
            options: Default::default(),
            extra: Default::default(),
        };
        add(&mut cloud, user);
        add(&mut cloud, project);
        for n in 0..8 {
            add(
                &mut cloud,
                CreateRole { id: role(n), name: format!("r{n}"), domain: None, description: None, options: Default::default() },
            );
        }
        for (a, b) in implications {
            add(&mut cloud, ImplyRole { role: role(*a), implied: role(*b) });
        }
        for n in granted {
            let grant = Grant { assignee: Assignee::User(USER), target: Target::Project(PROJECT), inherited: false, role: role(*n) };
            add(&mut cloud, GrantRole(grant));
        }
        cloud
    }

    #[test]
    fn a_role_that_the_user_has_not_is_refused() {
        let given = crate::testing::Given { cloud: cloud(&[1], &[]), now: Timestamp(1) };
        given.when(credential(vec![role(2)], [role(2)].into())).refused(Class::Invalid, "Could not find role assignment");
    }

    #[test]
    fn a_role_that_the_user_lost_is_lost_to_the_credential_at_once() {
        let mut cloud = cloud(&[1, 2], &[]);
        add(&mut cloud, credential(vec![role(1), role(2)], [role(1), role(2)].into()));
        let grant = Grant { assignee: Assignee::User(USER), target: Target::Project(PROJECT), inherited: false, role: role(2) };
        add(&mut cloud, RevokeRole(grant));
        let key = cloud.application_credentials.values().next().cloned().unwrap_or_else(|| panic!("not made"));
        assert_eq!(cloud.application_credential_roles(&key), [role(1)].into());
    }

    proptest! {
        /// Whatever is granted, implied, asked for and taken back: a credential's roles are a subset of its user's.
        #[test]
        fn a_credential_never_has_more_than_its_user(
            granted in proptest::collection::vec(0u8..8, 0..6),
            implications in proptest::collection::vec((0u8..8, 0u8..8), 0..8),
            asked in proptest::collection::vec(0u8..8, 1..5),
            revoked in proptest::collection::vec(0u8..8, 0..4),
        ) {
            let mut cloud = cloud(&granted, &implications);
            let before = cloud.effective_roles(&USER, &Target::Project(PROJECT));
            let asked: Vec<RoleId> = asked.iter().map(|n| role(*n)).collect();
            add(&mut cloud, credential(asked.clone(), before.clone()));
            let made = cloud.application_credentials.values().next().cloned();
            prop_assert_eq!(made.is_some(), asked.iter().all(|r| before.contains(r)));
            for n in revoked {
                let grant = Grant { assignee: Assignee::User(USER), target: Target::Project(PROJECT), inherited: false, role: role(n) };
                add(&mut cloud, RevokeRole(grant));
            }
            if let Some(made) = made {
                let now = cloud.effective_roles(&USER, &Target::Project(PROJECT));
                prop_assert!(cloud.application_credential_roles(&made).is_subset(&now));
            }
        }
    }
}
