//! What the facts mean: the cloud's state folded from the log (`cloud`), what each host should be running (`plan`), what
//! hosts say back (`report`), and what people ask about in SQL (`read`).
//!
//! **Invariant: this crate is pure.** `Cloud` is a value; `apply` has no I/O, no clock and no randomness, so that replaying
//! the log gives, bit for bit, the live state (invariant 2).

pub mod cloud;
pub mod plan;
pub mod read;
pub mod report;

pub use cloud::{CannotApply, Cloud, Stamp, Table};
