//! The handle that everything else holds.

use crate::audit::Audit;
use crate::reader::Waiting;
use crate::tip::{Applied, Shared};
use crate::writer::Ask;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_conductor::{Command, Context, Refusal};
use strata_events::Recorded;
use strata_log::Log;
use strata_projections::Cloud;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// What a command led to.
#[derive(Debug, Clone)]
pub struct Done {
    /// A state that holds the command's events; others that were committed with them may be in it too.
    pub cloud: Arc<Cloud>,
    /// The position of `cloud`.
    pub position: u64,
    /// The command's own events, none if it was so already.
    pub events: Vec<Arc<Recorded>>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Refused(Refusal),
    #[error("too many commands are waiting: try again in a moment")]
    Busy,
    /// The command is wholly absent from the log.
    #[error("the log can't be reached: {0}")]
    Unavailable(String),
}

/// A handle to the writer and the reader; cloning it is cheap.
#[derive(Clone)]
pub struct Conductor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) reads: mpsc::Sender<Waiting>,
    pub(crate) patience: Duration,
    pub(crate) audit: Arc<Audit>,
}

impl Conductor {
    /// Decides the command under the log's head, appends its events, commits, and then answers. [`Failure::Busy`] at once
    /// when the queue is full.
    pub async fn run(&self, ctx: Context, command: impl Command) -> Result<Done, Failure> {
        self.run_boxed(ctx, Box::new(command)).await
    }

    pub async fn run_boxed(&self, ctx: Context, command: Box<dyn Command>) -> Result<Done, Failure> {
        let (ask, answer) = self.ask(ctx, command);
        match self.asks.try_send(ask) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Failure::Busy),
            Err(TrySendError::Closed(_)) => return Err(self.stopped()),
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// The same for Strata's own follow-up work, which waits for a place in the queue.
    pub(crate) async fn run_patiently(&self, ctx: Context, command: Box<dyn Command>) -> Result<Done, Failure> {
        let (ask, answer) = self.ask(ctx, command);
        if self.asks.send(ask).await.is_err() {
            return Err(self.stopped());
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn ask(&self, ctx: Context, command: Box<dyn Command>) -> (Ask, oneshot::Receiver<Result<Done, Failure>>) {
        let (tell, answer) = oneshot::channel();
        (Ask { ctx, command, tell, until: Instant::now() + self.patience }, answer)
    }

    /// A state that holds at least everything that was committed anywhere before this call.
    pub async fn cloud(&self) -> Result<Arc<Cloud>, Failure> {
        let (tell, answer) = oneshot::channel();
        match self.reads.try_send(Waiting { tell, until: Instant::now() + self.patience }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Failure::Busy),
            Err(TrySendError::Closed(_)) => return Err(self.stopped()),
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// What this replica has applied so far, without waiting.
    pub fn latest(&self) -> Arc<Cloud> {
        self.shared.tip.latest()
    }

    /// Changes whenever more is applied here, by whichever replica it was committed; the value is the position.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.tip.positions()
    }

    /// What is applied here from now on, in order and without a gap. A receiver that is too slow gets `Lagged` and starts
    /// over from [`Conductor::latest`] or from the log.
    pub fn applied(&self) -> broadcast::Receiver<Applied> {
        self.shared.tip.subscribe()
    }

    /// Another replica has committed something: read the log soon. Losing a hint costs a poll interval.
    pub fn hint(&self) {
        self.shared.hint.notify_one();
    }

    /// The log itself: events, secrets, keys.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Resolves when this replica can't go on (an event that does not apply, a broken chain), with the reason. The process
    /// must end: nothing is skipped.
    pub async fn fatal(&self) -> String {
        let mut fatal = self.shared.fatal.subscribe();
        loop {
            if let Some(why) = fatal.borrow_and_update().clone() {
                return why;
            }
            if fatal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn stopped(&self) -> Failure {
        let why = self.shared.fatal.borrow().clone();
        Failure::Unavailable(why.unwrap_or_else(|| "this replica is stopping".into()))
    }
}
