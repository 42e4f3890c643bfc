//! Uploads that never ended, and staged data that nobody imported.

use crate::Command;
use crate::decide::image::FailUpload;
use strata_events::Timestamp;
use strata_projections::Cloud;

/// What is due now.
pub fn sweep(cloud: &Cloud, now: Timestamp) -> Vec<Box<dyn Command>> {
    let due = cloud.images.uploads().filter_map(|i| i.upload.as_ref().map(|u| (i.id, u))).take_while(|(_, u)| u.deadline <= now);
    due.map(|(id, upload)| -> Box<dyn Command> {
        let reason = match upload.staged {
            Some(_) => "The staged data was not imported in time.",
            None => "The upload took too long.",
        };
        Box::new(FailUpload { id, upload: upload.id, reason: reason.into() })
    })
    .collect()
}
