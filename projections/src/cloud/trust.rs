//! Trusts. Invariant: what one gives is never more than what its trustor may do at that moment ([`Cloud::trust_roles`]).

use super::{CannotApply, Cloud, Stamp, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strata_events::assignment::Target;
use strata_events::trust::TrustEvent;
use strata_events::{ProjectId, RoleId, Timestamp, TrustId, UserId};

/// One user lets another one act for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    pub id: TrustId,
    pub trustor: UserId,
    pub trustee: UserId,
    pub project: ProjectId,
    pub impersonation: bool,
    pub roles: Vec<RoleId>,
    pub expires_at: Option<Timestamp>,
    pub remaining_uses: Option<u32>,
}

/// The live trusts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trusts {
    all: Table<TrustId, Trust>,
}

impl std::ops::Deref for Trusts {
    type Target = Table<TrustId, Trust>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Cloud {
    /// What a trust lets its trustee be now: the roles it was made with, as far as its trustor still has them.
    pub fn trust_roles(&self, trust: &Trust) -> BTreeSet<RoleId> {
        let has = self.effective_roles(&trust.trustor, &Target::Project(trust.project));
        let given = self.roles.closure(trust.roles.iter().copied());
        given.intersection(&has).copied().collect()
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &TrustEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let trusts = &mut cloud.trusts.all;
    match event {
        TrustEvent::TrustCreated { id, trustor, trustee, project, impersonation, roles, expires_at, remaining_uses } => {
            cloud.users.need(trustor)?;
            cloud.users.need(trustee)?;
            cloud.projects.need(project)?;
            let trust = Trust {
                id: *id,
                trustor: *trustor,
                trustee: *trustee,
                project: *project,
                impersonation: *impersonation,
                roles: roles.clone(),
                expires_at: *expires_at,
                remaining_uses: *remaining_uses,
            };
            trusts.add(*id, trust)
        }
        TrustEvent::TrustUsed { id } => trusts.change(id, |t| match t.remaining_uses {
            Some(0) => Err(CannotApply::because("the trust is used up")),
            Some(n) => {
                t.remaining_uses = Some(n - 1);
                Ok(())
            }
            None => Ok(()),
        })?,
        TrustEvent::TrustDeleted { id } => {
            trusts.remove(id)?;
            cloud.end_of_stream(TrustEvent::KIND, id.0);
            Ok(())
        }
    }
}
