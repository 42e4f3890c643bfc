//! What may be asked of a credential. Its blob lies sealed outside the log; here only the reference is handled.

use super::identity::{duplicate, not_found};
use crate::{Command, Context, Decision, events};
use strata_events::credential::CredentialEvent;
use strata_events::{CredentialId, ProjectId, SecretId, UserId};
use strata_projections::Cloud;

/// Keeps a credential for a user.
#[derive(Debug, Clone)]
pub struct CreateCredential {
    pub id: CredentialId,
    pub user: UserId,
    pub project: Option<ProjectId>,
    pub kind: String,
    pub blob: SecretId,
}

impl Command for CreateCredential {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.users.contains(&self.user) {
            return Err(not_found("user", self.user));
        }
        if let Some(project) = &self.project
            && !cloud.projects.contains(project)
        {
            return Err(not_found("project", project));
        }
        if cloud.credentials.contains(&self.id) {
            return Err(duplicate("credential", format_args!("Duplicate entry found with ID {}", self.id)));
        }
        Ok(events![CredentialEvent::CredentialCreated {
            id: self.id.clone(),
            user: self.user,
            project: self.project,
            kind: self.kind.clone(),
            blob: self.blob,
        }])
    }
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdateCredential {
    pub id: CredentialId,
    pub user: Option<UserId>,
    pub project: Option<ProjectId>,
    pub kind: Option<String>,
    pub blob: Option<SecretId>,
}

impl Command for UpdateCredential {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.credentials.contains(&self.id) {
            return Err(not_found("credential", &self.id));
        }
        if let Some(user) = &self.user
            && !cloud.users.contains(user)
        {
            return Err(not_found("user", user));
        }
        if let Some(project) = &self.project
            && !cloud.projects.contains(project)
        {
            return Err(not_found("project", project));
        }
        Ok(events![CredentialEvent::CredentialUpdated {
            id: self.id.clone(),
            user: self.user,
            project: self.project,
            kind: self.kind.clone(),
            blob: self.blob,
        }])
    }
}

/// Forgets a credential.
#[derive(Debug, Clone)]
pub struct DeleteCredential {
    pub id: CredentialId,
}

impl Command for DeleteCredential {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.credentials.contains(&self.id) {
            true => Ok(events![CredentialEvent::CredentialDeleted { id: self.id.clone() }]),
            false => Err(not_found("credential", &self.id)),
        }
    }
}
