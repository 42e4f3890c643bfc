//! What can happen to a group of users.
use crate::{DomainId, GroupId, UserId};

aggregate! {
    /// Events of one group.
    pub enum GroupEvent: "group" {
        /// A group came into being.
        GroupCreated { id: GroupId, domain: DomainId, name: String, description: String },
        /// Attributes were changed; those absent stayed.
        GroupUpdated { id: GroupId, name: Option<String>, description: Option<String> },
        /// A user joined.
        GroupMemberAdded { id: GroupId, user: UserId },
        /// A user left.
        GroupMemberRemoved { id: GroupId, user: UserId },
        /// The group is gone, with its assignments.
        GroupDeleted { id: GroupId },
    }
}
