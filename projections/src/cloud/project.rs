//! Projects.

use super::{CannotApply, Cloud, Stamp};
use serde::{Deserialize, Serialize};
use strata_events::project::ProjectEvent;

/// To be folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Projects {}

pub(super) fn apply(_cloud: &mut Cloud, _event: &ProjectEvent, _stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    Err(CannotApply::because("not folded yet"))
}
