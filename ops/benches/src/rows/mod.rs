//! The rows of the table, by what they need to run.

pub mod guests;
pub mod pure;
pub mod whole;
pub mod writer;
