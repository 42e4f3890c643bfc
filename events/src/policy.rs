//! Policies: rule sets that operators keep in identity for other services to read. Strata itself asks none of them.
use crate::PolicyId;
use serde_json::{Map, Value};

aggregate! {
    /// Events of one policy.
    pub enum PolicyEvent: "policy" {
        /// A rule set was stored, as it was given. `kind` is its MIME type.
        PolicyCreated { id: PolicyId, blob: String, kind: String, extra: Map<String, Value> },
        /// Attributes were changed; those absent stayed. `extra` is merged; null removes.
        PolicyUpdated { id: PolicyId, blob: Option<String>, kind: Option<String>, extra: Map<String, Value> },
        /// It is gone.
        PolicyDeleted { id: PolicyId },
    }
}
