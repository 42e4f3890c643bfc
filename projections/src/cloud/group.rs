//! Groups.

use super::{CannotApply, Cloud, Stamp};
use serde::{Deserialize, Serialize};
use strata_events::group::GroupEvent;

/// To be folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {}

pub(super) fn apply(_cloud: &mut Cloud, _event: &GroupEvent, _stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    Err(CannotApply::because("not folded yet"))
}
