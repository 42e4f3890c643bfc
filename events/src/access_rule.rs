//! Access rules: which API calls an application credential may be used for. They outlive the credential that brought them.
use crate::{AccessRuleId, UserId};

aggregate! {
    /// Events of one access rule.
    pub enum AccessRuleEvent: "access_rule" {
        /// A user described a call: the service's type, the method, and a path with `*`, `**` and `{name}` for what varies.
        AccessRuleCreated { id: AccessRuleId, user: UserId, service: String, method: String, path: String },
        /// It is gone; no application credential used it any more.
        AccessRuleDeleted { id: AccessRuleId },
    }
}
