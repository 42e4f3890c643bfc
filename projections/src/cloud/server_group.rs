//! ServerGroups.

use super::{CannotApply, Cloud, Stamp};
use serde::{Deserialize, Serialize};
use strata_events::server_group::ServerGroupEvent;

/// To be folded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerGroups {}

pub(super) fn apply(_cloud: &mut Cloud, _event: &ServerGroupEvent, _stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    Err(CannotApply::because("not folded yet"))
}
