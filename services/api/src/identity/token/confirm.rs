//! What a token is worth at this moment: everything it rests on must still stand. Pure: state, time and token in, caller out.

use super::{Place, Token};
use crate::frame::{Caller, Scope};
use std::collections::BTreeSet;
use strata_events::assignment::Target;
use strata_events::{DomainId, RoleId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::domain::Domain;

/// The caller that the token stands for now; None when it is void, for whatever reason.
pub fn confirm(cloud: &Cloud, now: Timestamp, token: &Token) -> Option<Caller> {
    if now >= token.expires_at || cloud.tokens.is_revoked(&token.audit.to_string()) {
        return None;
    }
    let user = cloud.users.get(&token.user).filter(|u| u.enabled && token.position >= u.tokens_from)?;
    let user_domain = standing_domain(cloud, token, &user.domain)?;
    let scope = match token.place {
        Place::Unscoped => Scope::Unscoped,
        Place::System => Scope::System,
        Place::Domain(id) => Scope::Domain { id, name: standing_domain(cloud, token, &id)?.name.clone() },
        Place::Project(id) => {
            let project = cloud.projects.get(&id).filter(|p| p.enabled && token.position >= p.tokens_from)?;
            let domain = standing_domain(cloud, token, &project.domain)?;
            Scope::Project { id, name: project.name.clone(), domain: domain.id, domain_name: domain.name.clone() }
        }
    };
    let mut roles: Vec<(RoleId, String)> = match (token.application_credential, target(token.place)) {
        _ if token.trust.is_some() => cloud.role_names(trusted_roles(cloud, now, token)?),
        (Some(id), _) => {
            let credential = cloud.application_credentials.get(&id)?;
            let stands = credential.user == token.user
                && Place::Project(credential.project) == token.place
                && credential.expires_at.is_none_or(|at| now < at);
            if !stands {
                return None;
            }
            cloud.role_names(cloud.application_credential_roles(credential))
        }
        (None, Some(target)) => cloud.effective_role_names(&token.user, &target),
        (None, None) => vec![],
    };
    if roles.is_empty() && token.place != Place::Unscoped {
        return None;
    }
    roles.sort_by(|a, b| a.1.cmp(&b.1));
    Some(Caller {
        user: user.id,
        user_name: user.name.clone(),
        user_domain: user.domain,
        user_domain_name: user_domain.name.clone(),
        scope,
        roles,
        methods: token.methods().into_iter().map(str::to_owned).collect(),
        audit_ids: token.audit_ids(),
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        application_credential: token.application_credential,
    })
}

/// What a trust's token may do: nothing when the trust, or one of the two users, stands no more.
fn trusted_roles(cloud: &Cloud, now: Timestamp, token: &Token) -> Option<BTreeSet<RoleId>> {
    let trust = cloud.trusts.get(&token.trust?)?;
    let bearer = if trust.impersonation { trust.trustor } else { trust.trustee };
    let stands = token.user == bearer && Place::Project(trust.project) == token.place && trust.expires_at.is_none_or(|at| now < at);
    let users = [trust.trustor, trust.trustee].iter().all(|id| {
        let user = cloud.users.get(id).filter(|u| u.enabled && token.position >= u.tokens_from);
        user.is_some_and(|u| standing_domain(cloud, token, &u.domain).is_some())
    });
    (stands && users).then(|| cloud.trust_roles(trust))
}

/// Where roles are looked up for a place.
pub fn target(place: Place) -> Option<Target> {
    match place {
        Place::Unscoped => None,
        Place::Project(id) => Some(Target::Project(id)),
        Place::Domain(id) => Some(Target::Domain(id)),
        Place::System => Some(Target::System),
    }
}

fn standing_domain<'a>(cloud: &'a Cloud, token: &Token, id: &DomainId) -> Option<&'a Domain> {
    cloud.domains.get(id).map(|d| &**d).filter(|d| d.enabled && token.position >= d.tokens_from)
}

#[cfg(test)]
mod tests {
    use super::super::AuditId;
    use super::*;
    use strata_conductor::decide::assignment::RevokeRole;
    use strata_conductor::decide::bootstrap::Bootstrap;
    use strata_conductor::decide::project::{DeleteProject, UpdateProject};
    use strata_conductor::decide::role::DeleteRole;
    use strata_conductor::decide::token::RevokeToken;
    use strata_conductor::decide::user::{DeleteUser, UpdateUser};
    use strata_conductor::testing::{Given, given};
    use strata_conductor::{Command, Context};
    use strata_events::assignment::Assignee;
    use strata_events::{Actor, ProjectId, UserId};
    use strata_projections::cloud::assignment::Grant;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    struct Demo {
        cloud: Cloud,
        user: UserId,
        project: ProjectId,
        token: Token,
    }

    /// A fresh cloud, and demo logged in to project demo.
    fn demo() -> Demo {
        let seed = uuid::Uuid::from_u128(5);
        let ask = Bootstrap { seed, region: "R".into(), admin_hash: "a".into(), demo_hash: "d".into() };
        let cloud = given([]).when(ask).accepted();
        let user = cloud.users.by_name(&DomainId::DEFAULT, "demo").unwrap().id;
        let project = cloud.projects.by_name(&DomainId::DEFAULT, "demo").unwrap().id;
        let token = Token {
            user,
            place: Place::Project(project),
            methods: 1,
            issued_at: NOW,
            expires_at: NOW.plus_secs(3600),
            position: cloud.position,
            audit: AuditId([1; 16]),
            chain: None,
            application_credential: None,
            trust: None,
        };
        Demo { cloud, user, project, token }
    }

    impl Demo {
        fn after(mut self, command: impl Command) -> Self {
            let ctx = Context { now: NOW, actor: Actor::service("test"), request_id: String::new(), caused_by: None };
            assert!(command.decide(&self.cloud, &ctx).is_ok_and(|e| !e.is_empty()), "{command:?} did nothing");
            self.cloud = Given { cloud: self.cloud, now: NOW }.when(command).accepted();
            self
        }
        fn caller(&self) -> Option<Caller> {
            confirm(&self.cloud, NOW, &self.token)
        }
        fn user_update(&self, enabled: Option<bool>, password_hash: Option<&str>) -> UpdateUser {
            UpdateUser {
                id: self.user,
                name: None,
                enabled,
                description: None,
                default_project: None,
                options: None,
                extra: Default::default(),
                password_hash: password_hash.map(str::to_owned),
            }
        }
        fn project_update(&self, enabled: bool) -> UpdateProject {
            let enabled = Some(enabled);
            UpdateProject { id: self.project, name: None, description: None, enabled, tags: None, options: None, extra: Default::default() }
        }
        fn member(&self) -> strata_events::RoleId {
            self.cloud.roles.by_name(None, "member").unwrap().id
        }
    }

    #[test]
    fn a_fresh_token_has_its_roles_and_those_they_imply() {
        let names: Vec<String> = demo().caller().unwrap().roles.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["member", "reader"]);
    }

    #[test]
    fn a_revoked_token_is_void() {
        let demo = demo();
        let revoke = RevokeToken { audit_id: demo.token.audit.to_string(), expires_at: demo.token.expires_at };
        assert_eq!(demo.after(revoke).caller(), None);
    }

    #[test]
    fn an_expired_token_is_void() {
        let demo = demo();
        assert_eq!(confirm(&demo.cloud, demo.token.expires_at, &demo.token), None);
    }

    #[test]
    fn a_new_password_voids_the_tokens_before_it_and_none_after() {
        let demo = demo();
        let change = demo.user_update(None, Some("new"));
        let mut demo = demo.after(change);
        assert_eq!(demo.caller(), None);
        demo.token.position = demo.cloud.position;
        assert!(demo.caller().is_some());
    }

    #[test]
    fn a_disabled_users_token_stays_void_when_the_user_is_enabled_again() {
        let demo = demo();
        let (off, on) = (demo.user_update(Some(false), None), demo.user_update(Some(true), None));
        let demo = demo.after(off);
        assert_eq!(demo.caller(), None);
        assert_eq!(demo.after(on).caller(), None);
    }

    #[test]
    fn a_disabled_projects_token_stays_void_when_the_project_is_enabled_again() {
        let demo = demo();
        let (off, on) = (demo.project_update(false), demo.project_update(true));
        let demo = demo.after(off);
        assert_eq!(demo.caller(), None);
        assert_eq!(demo.after(on).caller(), None);
    }

    #[test]
    fn what_is_deleted_takes_its_tokens_along() {
        let demo_of = demo();
        let user = demo_of.user;
        assert_eq!(demo_of.after(DeleteUser { id: user }).caller(), None);
        let demo_of = demo();
        let project = demo_of.project;
        assert_eq!(demo_of.after(DeleteProject { id: project }).caller(), None);
    }

    #[test]
    fn a_role_that_is_taken_back_or_deleted_acts_at_once() {
        let demo_of = demo();
        let (assignee, target) = (Assignee::User(demo_of.user), Target::Project(demo_of.project));
        let grant = Grant { assignee, target, inherited: false, role: demo_of.member() };
        assert_eq!(demo_of.after(RevokeRole(grant)).caller(), None);
        let demo_of = demo();
        let id = demo_of.member();
        assert_eq!(demo_of.after(DeleteRole { id }).caller(), None);
    }
}
