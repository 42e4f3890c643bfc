//! Credentials that users keep in identity. The blob is secret and kept outside the log: here stands its reference.

use super::project::Given;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::credential::CredentialEvent;
use strata_events::{CredentialId, ProjectId, SecretId, UserId};

/// One credential, without its blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub user: UserId,
    pub project: Option<ProjectId>,
    pub kind: String,
    pub blob: SecretId,
}

/// The live credentials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    all: Table<CredentialId, Credential>,
    by_user: OrdSet<(UserId, CredentialId)>,
}

impl std::ops::Deref for Credentials {
    type Target = Table<CredentialId, Credential>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Credentials {
    pub fn of(&self, user: &UserId) -> impl Iterator<Item = &Arc<Credential>> {
        let user = *user;
        self.by_user
            .range((user, CredentialId(String::new()))..)
            .take_while(move |(u, _)| *u == user)
            .filter_map(|(_, id)| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &CredentialEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let credentials = &mut cloud.credentials;
    match event {
        CredentialEvent::CredentialCreated { id, user, project, kind, blob } => {
            cloud.users.need(user)?;
            credentials.by_user.insert((*user, id.clone()));
            let credential = Credential { id: id.clone(), user: *user, project: *project, kind: kind.clone(), blob: *blob };
            credentials.all.add(id.clone(), credential)
        }
        CredentialEvent::CredentialUpdated { id, user, project, kind, blob } => {
            if let Some(user) = user {
                let old = credentials.all.need(id)?.user;
                credentials.by_user.remove(&(old, id.clone()));
                credentials.by_user.insert((*user, id.clone()));
            }
            credentials.all.change(id, |c| {
                user.clone_into_some(&mut c.user);
                if project.is_some() {
                    c.project = *project;
                }
                kind.clone_into_some(&mut c.kind);
                blob.clone_into_some(&mut c.blob);
            })
        }
        CredentialEvent::CredentialDeleted { id } => {
            let credential = credentials.all.remove(id)?;
            credentials.by_user.remove(&(credential.user, id.clone()));
            Ok(())
        }
    }
}
