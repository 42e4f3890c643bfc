//! Application credentials: a secret with a subset of its owner's roles in one project (never more: CVE-2020-12689 and kin).
use crate::{AccessRuleId, ApplicationCredentialId, ProjectId, RoleId, Timestamp, UserId};

aggregate! {
    /// Events of one application credential.
    pub enum ApplicationCredentialEvent: "application_credential" {
        /// It was created. `secret_hash` is argon2id.
        ApplicationCredentialCreated { id: ApplicationCredentialId, user: UserId, project: ProjectId, name: String, description: Option<String>,
            secret_hash: String, roles: Vec<RoleId>, expires_at: Option<Timestamp>,
            /// May itself create and delete application credentials and trusts.
            unrestricted: bool,
            /// The only calls it may be used for; none listed means every call.
            access_rules: Vec<AccessRuleId> },
        /// It is gone.
        ApplicationCredentialDeleted { id: ApplicationCredentialId },
    }
}
