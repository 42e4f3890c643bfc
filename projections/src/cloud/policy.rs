//! Policies that are kept for other services.

use super::project::{Given, merge};
use super::{CannotApply, Cloud, Stamp, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strata_events::PolicyId;
use strata_events::policy::PolicyEvent;

/// A rule set, as it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub id: PolicyId,
    pub blob: String,
    /// Its MIME type.
    pub kind: String,
    pub extra: Map<String, Value>,
}

/// The live policies.
pub type Policies = Table<PolicyId, Policy>;

pub(super) fn apply(cloud: &mut Cloud, event: &PolicyEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let policies = &mut cloud.policies;
    match event {
        PolicyEvent::PolicyCreated { id, blob, kind, extra } => {
            policies.add(*id, Policy { id: *id, blob: blob.clone(), kind: kind.clone(), extra: extra.clone() })
        }
        PolicyEvent::PolicyUpdated { id, blob, kind, extra } => policies.change(id, |policy| {
            blob.clone_into_some(&mut policy.blob);
            kind.clone_into_some(&mut policy.kind);
            merge(&mut policy.extra, extra);
        }),
        PolicyEvent::PolicyDeleted { id } => {
            policies.remove(id)?;
            cloud.end_of_stream(PolicyEvent::KIND, id.0);
            Ok(())
        }
    }
}
