//! Application credentials: a secret with a subset of its owner's roles in one project (never more: CVE-2020-12689 and kin).
use crate::{ApplicationCredentialId, ProjectId, RoleId, Timestamp, UserId};
use serde_json::Value;

aggregate! {
    /// Events of one application credential.
    pub enum ApplicationCredentialEvent: "application_credential" {
        /// It was created. `secret_hash` is argon2id.
        ApplicationCredentialCreated { id: ApplicationCredentialId, user: UserId, project: ProjectId, name: String, description: Option<String>,
            secret_hash: String, roles: Vec<RoleId>, expires_at: Option<Timestamp>,
            /// May itself create and delete application credentials and trusts.
            unrestricted: bool,
            access_rules: Vec<Value> },
        /// It is gone.
        ApplicationCredentialDeleted { id: ApplicationCredentialId },
    }
}
