//! Hints: after a commit, the position on `strata.hint`. Whoever hears of one that it has not applied reads the log. A lost hint
//! costs a poll interval, so nothing is repeated or acknowledged.

use super::{Link, pause};
use crate::Conductor;
use futures_util::StreamExt;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

const SUBJECT: &str = "strata.hint";

pub(super) async fn tell(link: &Link, conductor: &Conductor) {
    let mut applied = conductor.applied();
    loop {
        let mut position = match applied.recv().await {
            Ok(step) => {
                if step.local {
                    step.after.position
                } else {
                    0
                }
            }
            Err(RecvError::Lagged(_)) => conductor.latest().position,
            Err(RecvError::Closed) => return,
        };
        // One hint for all that was committed since.
        loop {
            match applied.try_recv() {
                Ok(step) if step.local => position = step.after.position,
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        if position > 0 {
            // When it can't be sent the others poll.
            let _ = link.client.publish(SUBJECT, position.to_string().into()).await;
        }
    }
}

pub(super) async fn hear(link: &Link, conductor: &Conductor) {
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        match link.client.subscribe(SUBJECT).await {
            Ok(mut hints) => {
                failures = 0;
                while let Some(hint) = hints.next().await {
                    let position = std::str::from_utf8(&hint.payload).ok().and_then(|s| s.parse::<u64>().ok());
                    if position.is_some_and(|p| p > conductor.latest().position) {
                        conductor.hint();
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "can't listen for hints; polls instead"),
        }
        failures += 1;
        pause(failures, &mut connected).await;
    }
}
