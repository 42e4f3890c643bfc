//! What can happen to a server group: servers placed with or away from each other.
use crate::{ProjectId, ServerGroupId, UserId};
use serde::{Deserialize, Serialize};

/// How the members relate to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum GroupPolicy {
    Affinity,
    AntiAffinity,
    SoftAffinity,
    SoftAntiAffinity,
}

aggregate! {
    /// Events of one server group. Membership is a fact of the instance.
    pub enum ServerGroupEvent: "server_group" {
        /// A server group came into being.
        ServerGroupCreated { id: ServerGroupId, project: ProjectId, user: UserId, name: String, policy: GroupPolicy,
            /// For anti-affinity: members allowed on one host.
            max_server_per_host: Option<u32> },
        /// The group is gone; its members are free.
        ServerGroupDeleted { id: ServerGroupId },
    }
}
