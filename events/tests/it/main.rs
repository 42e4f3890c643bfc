//! The published contract of the log: the JSON Schema of every event and a recorded sample of each, in schema/events/.
//!
//! After a change to an event, `STRATA_BLESS=1 cargo test -p strata-events` writes the schemas anew and records the samples
//! that are missing. A sample that is there is never changed: it stands for the logs that are out there.

#![allow(clippy::unwrap_used)]

mod contract;
mod made;
