//! What may be asked of a trust. The rule: it never has a role that its trustor has not, at its making or later.

use super::identity::not_found;
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::assignment::Target;
use strata_events::trust::TrustEvent;
use strata_events::{ProjectId, RoleId, Timestamp, TrustId, UserId};
use strata_projections::Cloud;

/// Lets another user act for the trustor.
#[derive(Debug, Clone)]
pub struct CreateTrust {
    pub id: TrustId,
    pub trustor: UserId,
    pub trustee: UserId,
    pub project: ProjectId,
    pub impersonation: bool,
    pub roles: Vec<RoleId>,
    pub expires_at: Option<Timestamp>,
    pub remaining_uses: Option<u32>,
}

impl Command for CreateTrust {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        for user in [self.trustor, self.trustee] {
            if !cloud.users.contains(&user) {
                return Err(not_found("user", user));
            }
        }
        if !cloud.projects.contains(&self.project) {
            return Err(not_found("project", self.project));
        }
        if self.expires_at.is_some_and(|at| at <= ctx.now) {
            return Err(Refusal::invalid("The 'expires_at' must not be before now."));
        }
        if self.roles.is_empty() {
            return Err(Refusal::forbidden("At least one role should be specified."));
        }
        let has = cloud.effective_roles(&self.trustor, &Target::Project(self.project));
        if let Some(role) = self.roles.iter().find(|r| !has.contains(r)) {
            return Err(not_found("role", role).with_class(crate::Class::Forbidden));
        }
        Ok(events![TrustEvent::TrustCreated {
            id: self.id,
            trustor: self.trustor,
            trustee: self.trustee,
            project: self.project,
            impersonation: self.impersonation,
            roles: self.roles.clone(),
            expires_at: self.expires_at,
            remaining_uses: self.remaining_uses,
        }])
    }
}

/// Counts a token that is got with a trust. One that may be used without count changes nothing.
#[derive(Debug, Clone)]
pub struct UseTrust {
    pub id: TrustId,
}

impl Command for UseTrust {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.trusts.get(&self.id).map(|t| t.remaining_uses) {
            Some(None) => Ok(vec![]),
            Some(Some(n)) if n > 0 => Ok(events![TrustEvent::TrustUsed { id: self.id }]),
            _ => Err(not_found("trust", self.id)),
        }
    }
}

/// Ends a trust, and with it every token that was got with it.
#[derive(Debug, Clone)]
pub struct DeleteTrust {
    pub id: TrustId,
}

impl Command for DeleteTrust {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.trusts.contains(&self.id) {
            true => Ok(events![TrustEvent::TrustDeleted { id: self.id }]),
            false => Err(not_found("trust", self.id)),
        }
    }
}
