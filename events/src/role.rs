//! What can happen to a role, and which roles imply which.
use crate::{DomainId, RoleId};
use serde_json::{Map, Value};

aggregate! {
    /// Events of one role.
    pub enum RoleEvent: "role" {
        /// A role came into being, global or of one domain.
        RoleCreated { id: RoleId, name: String, domain: Option<DomainId>, description: Option<String>, options: Map<String, Value> },
        /// Attributes were changed; those absent stayed.
        RoleUpdated { id: RoleId, name: Option<String>, #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            description: Option<Option<String>>, options: Option<Map<String, Value>> },
        /// Whoever has this role has the other one too.
        RoleImplied { id: RoleId, implies: RoleId },
        /// That implication ended.
        RoleImplicationRemoved { id: RoleId, implies: RoleId },
        /// The role is gone, with its assignments.
        RoleDeleted { id: RoleId },
    }
}
