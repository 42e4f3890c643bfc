//! What can happen to a user. Only the argon2id hash of a password ever stands here (invariant 12).
use crate::{DomainId, ProjectId, Timestamp, UserId};
use serde_json::{Map, Value};

aggregate! {
    /// Events of one user.
    pub enum UserEvent: "user" {
        /// A user came into being, with or without a password.
        UserCreated { id: UserId, domain: DomainId, name: String, enabled: bool, description: Option<String>,
            /// argon2id, in PHC string format.
            password_hash: Option<String>,
            default_project: Option<ProjectId>, options: Map<String, Value>, extra: Map<String, Value> },
        /// Attributes were changed; those absent stayed. `extra` is merged; null removes. A default project of null removes it.
        UserUpdated { id: UserId, name: Option<String>, enabled: Option<bool>, #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            description: Option<Option<String>>,
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            default_project: Option<Option<ProjectId>>, options: Option<Map<String, Value>>, extra: Map<String, Value> },
        /// The password was set, by the user or an admin. Tokens issued before are void.
        UserPasswordChanged { id: UserId, password_hash: String, expires_at: Option<Timestamp> },
        /// The user is gone, with keypairs, credentials and assignments.
        UserDeleted { id: UserId },
    }
}
