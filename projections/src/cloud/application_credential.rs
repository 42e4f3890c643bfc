//! Application credentials. Invariants: a name is unique for its user; what one may do is never more than what its user may do
//! at that moment ([`Cloud::application_credential_roles`]).

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use strata_events::application_credential::ApplicationCredentialEvent;
use strata_events::assignment::Target;
use strata_events::{AccessRuleId, ApplicationCredentialId, ProjectId, RoleId, Timestamp, UserId};

/// A secret with a subset of its owner's roles in one project.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplicationCredential {
    pub id: ApplicationCredentialId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub description: Option<String>,
    /// argon2id, in PHC string format.
    pub secret_hash: String,
    pub roles: Vec<RoleId>,
    pub expires_at: Option<Timestamp>,
    pub unrestricted: bool,
    pub access_rules: Vec<AccessRuleId>,
}

impl std::fmt::Debug for ApplicationCredential {
    /// Without the hash: what is printed ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplicationCredential").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}

/// The live application credentials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplicationCredentials {
    all: Table<ApplicationCredentialId, ApplicationCredential>,
    by_user: OrdMap<(UserId, String), ApplicationCredentialId>,
}

impl std::ops::Deref for ApplicationCredentials {
    type Target = Table<ApplicationCredentialId, ApplicationCredential>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl ApplicationCredentials {
    pub fn by_name(&self, user: &UserId, name: &str) -> Option<&Arc<ApplicationCredential>> {
        self.by_user.get(&(*user, name.to_owned())).and_then(|id| self.all.get(id))
    }
    /// One user's, by name.
    pub fn of(&self, user: &UserId) -> impl Iterator<Item = &Arc<ApplicationCredential>> {
        let user = *user;
        self.by_user.range((user, String::new())..).take_while(move |((u, _), _)| *u == user).filter_map(|(_, id)| self.all.get(id))
    }
}

impl Cloud {
    /// What a credential lets its bearer be now: the roles it was made with, as far as its user still has them.
    pub fn application_credential_roles(&self, credential: &ApplicationCredential) -> BTreeSet<RoleId> {
        let has = self.effective_roles(&credential.user, &Target::Project(credential.project));
        let given = self.roles.closure(credential.roles.iter().copied());
        given.intersection(&has).copied().collect()
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &ApplicationCredentialEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let credentials = &mut cloud.application_credentials;
    match event {
        ApplicationCredentialEvent::ApplicationCredentialCreated {
            id,
            user,
            project,
            name,
            description,
            secret_hash,
            roles,
            expires_at,
            unrestricted,
            access_rules,
        } => {
            cloud.users.need(user)?;
            cloud.projects.need(project)?;
            if credentials.by_user.insert((*user, name.clone()), *id).is_some() {
                return Err(CannotApply::because("the user has a credential of that name already"));
            }
            credentials.all.add(
                *id,
                ApplicationCredential {
                    id: *id,
                    user: *user,
                    project: *project,
                    name: name.clone(),
                    description: description.clone(),
                    secret_hash: secret_hash.clone(),
                    roles: roles.clone(),
                    expires_at: *expires_at,
                    unrestricted: *unrestricted,
                    access_rules: access_rules.clone(),
                },
            )
        }
        ApplicationCredentialEvent::ApplicationCredentialDeleted { id } => {
            let credential = credentials.all.remove(id)?;
            credentials.by_user.remove(&(credential.user, credential.name.clone()));
            cloud.end_of_stream(ApplicationCredentialEvent::KIND, id.0);
            Ok(())
        }
    }
}
