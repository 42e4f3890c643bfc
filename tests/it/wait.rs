//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

/// Waits until something holds; says what did not.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + limit;
    loop {
        match holds() {
            Ok(()) => return,
            Err(why) if Instant::now() > end => panic!("not within {limit:?}: {what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
