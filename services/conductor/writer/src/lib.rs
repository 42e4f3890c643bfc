//! The one way into the log, and out of it: the group-committing writer, the linearizable reader, the follower of other
//! replicas, and what is kept up to date from the log.
//!
//! **Invariants.** A command is decided while its log's head is locked, so every rule is an `if` over one state (3). An
//! answered command is durable; one that got no answer is wholly there or wholly absent (9). Every queue is bounded (11).

mod audit;
mod batch;
mod follow;
mod handle;
pub mod nats;
mod projector;
mod reactions;
mod reader;
mod secrets;
mod snapshots;
mod start;
mod tip;
mod writer;

pub use batch::{MAX_BATCH, MAX_EVENTS};
pub use handle::{Conductor, Done, Failure};
pub use start::{Options, StartError};
pub use tip::Applied;

use strata_events::Timestamp;

/// The time by this machine's clock. Only the rim asks for it; rules get it inside their context.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
