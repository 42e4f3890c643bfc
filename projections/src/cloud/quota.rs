//! Quotas.

use super::{CannotApply, Cloud, Stamp};
use serde::{Deserialize, Serialize};
use strata_events::quota::QuotaEvent;

/// To be folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quotas {}

pub(super) fn apply(_cloud: &mut Cloud, _event: &QuotaEvent, _stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    Err(CannotApply::because("not folded yet"))
}
