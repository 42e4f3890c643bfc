//! The writer: one task, one connection. A turn locks the head, folds in what others appended, decides every command that
//! waits, inserts all events and commits; then it answers. Two round trips and one fsync a turn, however many commands.
//!
//! When the outcome of a commit is not known, nobody is answered until the log itself has told it (invariant 9).

use crate::batch::{Decided, MAX_BATCH, decide};
use crate::handle::{Done, Failure};
use crate::tip::{Fatal, Shared, Trouble};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_conductor::{Command, Context};
use strata_log::{Batch, Head, LogError, Session};
use tokio::sync::{mpsc, oneshot};

/// A command that waits for its answer.
pub(crate) struct Ask {
    pub ctx: Context,
    pub command: Box<dyn Command>,
    pub tell: oneshot::Sender<Result<Done, Failure>>,
    /// When it stops waiting for Postgres to come back.
    pub until: Instant,
}

/// No statement takes this long on a Postgres that works.
const PATIENCE: Duration = Duration::from_secs(30);
const BACKOFF: [u64; 6] = [10, 50, 100, 200, 400, 800];

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Ask>,
    /// Taken from the queue, not yet decided.
    asks: Vec<Ask>,
    session: Option<Session>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Ask>) -> Self {
        Writer { shared, queue, asks: Vec::new(), session: None }
    }

    pub async fn run(mut self) {
        loop {
            if self.asks.is_empty() && self.queue.recv_many(&mut self.asks, MAX_BATCH).await == 0 {
                return;
            }
            if let Err(fatal) = self.turn().await {
                self.shared.stop(&fatal);
                self.queue.close();
                let unavailable = Failure::Unavailable(fatal.to_string());
                for ask in self.asks.drain(..) {
                    let _ = ask.tell.send(Err(unavailable.clone()));
                }
                while let Some(ask) = self.queue.recv().await {
                    let _ = ask.tell.send(Err(unavailable.clone()));
                }
                return;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Fatal> {
        let Some((cloud, head)) = self.hold_head().await? else { return Ok(()) };
        self.take();
        let Decided { cloud, batch, outcomes } = decide(&cloud, head, &self.asks);
        let asks: Vec<Ask> = self.asks.drain(..outcomes.len()).collect();
        if batch.entries.is_empty() {
            answer(asks, outcomes, &cloud, &batch);
            if let Some(session) = &self.session
                && session.release().await.is_err()
            {
                self.session = None;
            }
            return Ok(());
        }
        match self.commit(&batch).await? {
            Ok(()) => {
                let events: Vec<_> = batch.entries.iter().map(|e| e.recorded.clone()).collect();
                self.shared.tip.advance(&events, cloud.clone(), batch.head, true);
                answer(asks, outcomes, &cloud, &batch);
            }
            Err(why) => {
                for ask in asks {
                    let _ = ask.tell.send(Err(Failure::Unavailable(why.clone())));
                }
            }
        }
        Ok(())
    }

    /// Locks the head and folds in what came before it. None when nobody waits any more.
    async fn hold_head(&mut self) -> Result<Option<(Arc<strata_projections::Cloud>, Head)>, Fatal> {
        let mut tries = 0;
        loop {
            match self.try_hold_head().await {
                Ok(held) => return Ok(Some(held)),
                Err(Trouble::Fatal(fatal)) => return Err(fatal),
                Err(Trouble::Away(e)) => {
                    self.session = None;
                    if tries > 0 {
                        tracing::warn!(error = %e, "the log can't be reached; trying again");
                    }
                    self.expire(&e);
                    if self.asks.is_empty() {
                        return Ok(None);
                    }
                    // The first time it is often only that Postgres was restarted since the last command: again at once.
                    if tries > 0 {
                        tokio::time::sleep(backoff(tries)).await;
                    }
                    tries += 1;
                }
            }
        }
    }

    async fn try_hold_head(&mut self) -> Result<(Arc<strata_projections::Cloud>, Head), Trouble> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(in_time(self.shared.log.session()).await?),
        };
        let head = in_time(session.lock_head()).await?;
        self.shared.tip.catch_up(session, head).await
    }

    /// Takes what came while the head was being locked.
    fn take(&mut self) {
        while self.asks.len() < MAX_BATCH {
            match self.queue.try_recv() {
                Ok(ask) => self.asks.push(ask),
                Err(_) => return,
            }
        }
    }

    /// Commits. The inner error means that the batch is wholly absent, and stays so.
    async fn commit(&mut self, batch: &Batch) -> Result<Result<(), String>, Fatal> {
        let Some(session) = &self.session else { return Ok(Err("no connection".into())) };
        let error = match in_time(session.append_and_commit(batch)).await {
            Ok(()) => return Ok(Ok(())),
            Err(e) => e,
        };
        if let LogError::Database(e) = &error
            && e.code().is_some_and(|c| c.code() == "23505")
        {
            return Err(Fatal::Disagree(error.to_string()));
        }
        tracing::warn!(%error, position = batch.head.position, "the outcome of a commit is not known; asking the log");
        self.session = None;
        let mut tries = 0;
        loop {
            match self.ask_log(batch).await {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => return Ok(Err(error.to_string())),
                Err(e) => {
                    self.session = None;
                    tracing::warn!(error = %e, "the log can't be reached; {} commands wait to know their outcome", batch.entries.len());
                    tokio::time::sleep(backoff(tries)).await;
                    self.take();
                    self.expire(&e);
                    tries += 1;
                }
            }
        }
    }

    async fn ask_log(&mut self, batch: &Batch) -> Result<bool, LogError> {
        let session = self.session.insert(in_time(self.shared.log.session()).await?);
        in_time(session.holds(batch)).await
    }

    /// Answers those that have waited long enough and were not tried.
    fn expire(&mut self, error: &LogError) {
        let now = Instant::now();
        for ask in self.asks.extract_if(.., |ask| ask.until <= now) {
            let _ = ask.tell.send(Err(Failure::Unavailable(error.to_string())));
        }
    }
}

fn answer(asks: Vec<Ask>, outcomes: Vec<Result<std::ops::Range<usize>, Failure>>, cloud: &Arc<strata_projections::Cloud>, batch: &Batch) {
    for (ask, outcome) in asks.into_iter().zip(outcomes) {
        // a caller that went away does not hear it
        let _ = ask.tell.send(outcome.map(|own| Done {
            cloud: cloud.clone(),
            position: cloud.position,
            events: batch.entries[own].iter().map(|e| e.recorded.clone()).collect(),
        }));
    }
}

pub(crate) fn backoff(tries: usize) -> Duration {
    Duration::from_millis(BACKOFF[tries.min(BACKOFF.len() - 1)])
}

/// A connection that does not answer is as good as none.
pub(crate) async fn in_time<T>(f: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
    match tokio::time::timeout(PATIENCE, f).await {
        Ok(done) => done,
        Err(_) => Err(LogError::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
