//! The rules of the cloud: what may be asked (`decide`) and what follows (`react`).
//!
//! **Invariant: this crate is pure.** A decision sees the state and the question, nothing else: time and new ids arrive in
//! the command. The writer (strata-writer) runs decisions while it holds the log's head, so every rule that spans
//! resources is a plain `if` over one state.

pub mod decide;
pub mod draft;
pub mod react;
pub mod refusal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod together;

pub use refusal::{Class, Refusal};
pub use together::Together;

use std::fmt::Debug;
use strata_events::{Actor, Event, Timestamp};
use strata_projections::Cloud;

/// What a decision may know besides the state: when, who, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Context {
    pub now: Timestamp,
    pub actor: Actor,
    /// `req-<uuid>`
    pub request_id: String,
    /// The event that this follows from, for reactions.
    pub caused_by: Option<u64>,
}

/// The events that follow from a question (none: it is so already), or why it can't be.
pub type Decision = Result<Vec<Event>, Refusal>;

/// A question to the cloud. Every command is idempotent: asked again after it was carried out, it changes nothing or is
/// refused.
pub trait Command: Debug + Send + Sync + 'static {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision;
}

/// `events![A { … }, B { … }]`: a list of [`Event`]s from the aggregates' own events.
#[macro_export]
macro_rules! events {
    ($($e:expr),* $(,)?) => { vec![$(::strata_events::Event::from($e)),*] };
}
