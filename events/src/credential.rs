//! Credentials that a user keeps in identity (EC2 keys, TOTP seeds, certificates). The blob is secret: here stands only its reference.
use crate::{CredentialId, ProjectId, SecretId, UserId};

aggregate! {
    /// Events of one credential.
    pub enum CredentialEvent: "credential" {
        /// A credential was stored.
        CredentialCreated { id: CredentialId, user: UserId, project: Option<ProjectId>, kind: String, blob: SecretId },
        /// Attributes were changed; those absent stayed.
        CredentialUpdated { id: CredentialId, user: Option<UserId>, project: Option<ProjectId>, kind: Option<String>, blob: Option<SecretId> },
        /// The credential is gone.
        CredentialDeleted { id: CredentialId },
    }
}
