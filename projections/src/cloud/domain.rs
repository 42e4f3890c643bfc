//! Domains.

use super::{CannotApply, Cloud, Stamp};
use serde::{Deserialize, Serialize};
use strata_events::domain::DomainEvent;

/// To be folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Domains {}

pub(super) fn apply(_cloud: &mut Cloud, _event: &DomainEvent, _stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    Err(CannotApply::because("not folded yet"))
}
