//! The follower: applies what other replicas committed, when a hint says so, and every poll interval in case a hint was lost.

use crate::handle::Conductor;
use std::time::Duration;

pub(crate) async fn run(conductor: Conductor, poll: Duration) {
    let shared = conductor.shared.clone();
    loop {
        tokio::select! {
            () = shared.hint.notified() => {}
            () = tokio::time::sleep(poll) => {}
        }
        // Postgres being away is the reader's concern, and it says so.
        if conductor.cloud().await.is_err() && shared.fatal.borrow().is_some() {
            return;
        }
    }
}
