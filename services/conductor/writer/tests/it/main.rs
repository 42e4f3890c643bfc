//! The writer, the reader and what hangs on them, against a real Postgres.

mod common;
mod faults;
mod nats;
mod reading;
mod secrets;
mod snapshot;
mod writing;
