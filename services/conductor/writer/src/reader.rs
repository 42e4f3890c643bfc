//! The reader: makes reads linearizable. All reads that wait share one question for the log's head; when this replica has
//! applied the log up to there, they are answered from memory.

use crate::handle::Failure;
use crate::tip::{Shared, Trouble};
use crate::writer::{backoff, in_time};
use std::sync::Arc;
use std::time::Instant;
use strata_log::Session;
use strata_projections::Cloud;
use tokio::sync::{mpsc, oneshot};

/// A read that waits.
pub(crate) struct Waiting {
    pub tell: oneshot::Sender<Result<Arc<Cloud>, Failure>>,
    pub until: Instant,
}

/// The most reads that wait at once, and the most that share a question.
pub(crate) const MAX_WAITING: usize = 8_192;

pub(crate) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Waiting>) {
    let mut session = None;
    let mut waiting = Vec::new();
    let mut tries = 0;
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, MAX_WAITING).await == 0 {
            return;
        }
        match refresh(&shared, &mut session).await {
            Ok(cloud) => {
                tries = 0;
                for w in waiting.drain(..) {
                    let _ = w.tell.send(Ok(cloud.clone()));
                }
            }
            Err(Trouble::Away(e)) => {
                session = None;
                let now = Instant::now();
                for w in waiting.extract_if(.., |w| w.until <= now) {
                    let _ = w.tell.send(Err(Failure::Unavailable(e.to_string())));
                }
                if tries > 0 {
                    tracing::warn!(error = %e, "the log can't be read; trying again");
                    tokio::time::sleep(backoff(tries)).await;
                }
                tries += 1;
            }
            Err(Trouble::Fatal(fatal)) => {
                shared.stop(&fatal);
                queue.close();
                for w in waiting.drain(..) {
                    let _ = w.tell.send(Err(Failure::Unavailable(fatal.to_string())));
                }
                return;
            }
        }
    }
}

async fn refresh(shared: &Shared, session: &mut Option<Session>) -> Result<Arc<Cloud>, Trouble> {
    let session = match session {
        Some(session) => session,
        none => none.insert(in_time(shared.log.session()).await?),
    };
    let head = in_time(session.head()).await?;
    let latest = shared.tip.latest();
    if latest.position >= head.position {
        return Ok(latest);
    }
    Ok(shared.tip.catch_up(session, head).await?.0)
}
