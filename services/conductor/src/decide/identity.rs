//! The sentences that identity's refusals share, and the rule that what is marked immutable stays as it is.

use crate::{Class, Refusal};
use serde_json::{Map, Value};
use std::fmt::Display;

/// `Could not find user: 5….`
pub fn not_found(noun: &str, id: impl Display) -> Refusal {
    Refusal::new(Class::NotFound, "NotFound", format!("Could not find {noun}: {id}."))
}

pub(super) fn duplicate(noun: &str, details: impl Display) -> Refusal {
    Refusal::conflict(format!("Conflict occurred attempting to store {noun} - {details}."))
}

/// Refuses to change or delete what is immutable, unless that is what the change takes away.
pub(super) fn immutable(
    noun: &str,
    id: impl Display,
    now: &Map<String, Value>,
    update: Option<&Map<String, Value>>,
) -> Result<(), Refusal> {
    let set = |o: &Map<String, Value>| o.get("immutable") == Some(&Value::Bool(true));
    let lifted = update.is_some_and(|o| !set(o));
    match (set(now), update) {
        (true, Some(_)) if lifted => Ok(()),
        (true, _) => Err(Refusal::forbidden(format!(
            "Unable to change or delete immutable {noun} resource: {id}. Set resource option \"immutable\" to false first."
        ))),
        (false, _) => Ok(()),
    }
}
