//! What follows an event, and what follows from time passing. Both give commands, which are decided like any other.

pub(crate) mod image;
mod instance;

use crate::Command;
use strata_events::{Recorded, Timestamp};
use strata_projections::Cloud;

/// What follows from an event that was just committed; run by whoever committed it, and again on recovery.
pub fn react(_cloud: &Cloud, _recorded: &Recorded) -> Vec<Box<dyn Command>> {
    vec![]
}

/// What is due at this moment whatever happened before: deadlines that passed, and follow-up work that a crash cut off.
pub fn sweep(cloud: &Cloud, now: Timestamp) -> Vec<Box<dyn Command>> {
    let mut due = instance::sweep(cloud, now);
    due.extend(image::sweep(cloud, now));
    due
}
