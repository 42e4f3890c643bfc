//! Who has which role where. The stream is the assignee; one live assignment per (role, assignee, target, inherited).
use crate::{DomainId, GroupId, ProjectId, RoleId, UserId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who holds a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Assignee {
    User(UserId),
    Group(GroupId),
}
impl fmt::Display for Assignee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Assignee::User(u) => write!(f, "user/{u}"),
            Assignee::Group(g) => write!(f, "group/{g}"),
        }
    }
}

/// Where a role holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Target {
    Project(ProjectId),
    Domain(DomainId),
    System,
}

aggregate! {
    /// Events of one assignee's roles.
    pub enum AssignmentEvent: "assignment" {
        /// The assignee has the role there. `inherited`: in the projects below, not there itself.
        RoleGranted { id: Assignee, role: RoleId, target: Target, inherited: bool },
        /// The assignee has it no more.
        RoleRevoked { id: Assignee, role: RoleId, target: Target, inherited: bool },
    }
}
