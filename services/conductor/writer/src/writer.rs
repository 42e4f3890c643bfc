//! The writer: one task, one connection. A turn locks the head, folds in what others appended, decides every command that
//! waits, inserts all events and commits; then it answers. Two round trips and one fsync a turn, however many commands.
//!
//! Under load it needs one: while Postgres commits, the commands that come are decided ahead, on the state that is being
//! committed; then one statement locks the head, sees that it is still the one that they were decided on, inserts, moves it
//! and commits. When it has moved, another replica writes too: the turn locks it first and decides again, and so do the turns
//! after it until one finds that nothing was appended meanwhile. No command is decided more than twice.
//!
//! When the outcome of a commit is not known, nobody is answered until the log itself has told it (invariant 9).

use crate::batch::{Decided, MAX_BATCH};
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
/// So many commands are decided between two looks at the connection.
const AT_ONCE: usize = 32;
const BACKOFF: [u64; 6] = [10, 50, 100, 200, 400, 800];

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Ask>,
    /// Taken from the queue, not yet decided.
    asks: Vec<Ask>,
    /// Decided on top of what was committed last.
    ahead: Option<Decided>,
    session: Option<Session>,
    /// Another replica has moved the head since the last turn.
    contended: bool,
}

/// How a batch is added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// The head is locked already.
    Locked,
    /// If the head is still there.
    IfHead,
}

/// What came of adding a batch.
enum Outcome {
    Committed,
    /// The head is not there any more; nothing was changed.
    Moved,
    /// It is wholly absent, and stays so.
    Absent(String),
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Ask>) -> Self {
        Writer { shared, queue, asks: Vec::new(), ahead: None, session: None, contended: false }
    }

    pub async fn run(mut self) {
        loop {
            if self.asks.is_empty() && self.ahead.is_none() && self.queue.recv_many(&mut self.asks, MAX_BATCH).await == 0 {
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
        if !self.contended && self.session.is_some() && self.ahead.is_some() && self.turn_ahead().await? {
            return Ok(());
        }
        let known = self.shared.tip.now().1.position;
        let Some((cloud, head)) = self.hold_head().await? else { return Ok(()) };
        self.contended = head.position != known;
        let mut decided = match self.ahead.take() {
            Some(ahead) if ahead.batch.after == head => ahead,
            other => {
                self.give_back(other);
                Decided::on(cloud, head)
            }
        };
        self.take();
        decided.extend(&mut self.asks);
        if decided.batch.entries.is_empty() {
            answer(decided);
            if let Some(session) = &self.session
                && session.release().await.is_err()
            {
                self.session = None;
            }
            return Ok(());
        }
        match self.commit(&decided, How::Locked).await? {
            Outcome::Committed => self.committed(decided),
            Outcome::Moved => return Err(Fatal::Disagree("the head moved while it was locked".into())),
            Outcome::Absent(why) => absent(decided, &why),
        }
        Ok(())
    }

    /// A turn without the lock, right after a commit: a connection that has been idle is tried with the lock, so that commands
    /// whose outcome nobody knows stay as rare as commits that break. False: the head has moved or Postgres is away, and nothing was answered.
    async fn turn_ahead(&mut self) -> Result<bool, Fatal> {
        let (cloud, head) = self.shared.tip.now();
        let mut decided = match self.ahead.take() {
            Some(ahead) if ahead.batch.after == head => ahead,
            other => {
                self.give_back(other);
                Decided::on(cloud, head)
            }
        };
        self.take();
        decided.extend(&mut self.asks);
        let outcome = if decided.batch.entries.is_empty() {
            // Refusals rest on the state too.
            let Some(session) = &self.session else { unreachable!("it was there a moment ago") };
            match in_time(session.head()).await {
                Ok(now) if now == head => Outcome::Committed,
                Ok(_) => Outcome::Moved,
                Err(_) => {
                    self.session = None;
                    Outcome::Moved
                }
            }
        } else {
            self.commit(&decided, How::IfHead).await?
        };
        match outcome {
            Outcome::Committed => self.committed(decided),
            Outcome::Absent(why) => absent(decided, &why),
            Outcome::Moved => {
                self.give_back(Some(decided));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn committed(&self, decided: Decided) {
        if !decided.batch.entries.is_empty() {
            let events: Vec<_> = decided.batch.entries.iter().map(|e| e.recorded.clone()).collect();
            self.shared.tip.advance(&events, decided.cloud.clone(), decided.batch.head, true);
        }
        answer(decided);
    }

    /// What was decided ahead does not hold: its commands wait again, before the others.
    fn give_back(&mut self, ahead: Option<Decided>) {
        if let Some(ahead) = ahead {
            self.asks.splice(0..0, ahead.asks);
        }
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
                    let ahead = self.ahead.take();
                    self.give_back(ahead);
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

    /// Commits, and decides ahead meanwhile.
    async fn commit(&mut self, decided: &Decided, how: How) -> Result<Outcome, Fatal> {
        let batch = &decided.batch;
        let Some(session) = &self.session else { return Ok(Outcome::Absent("no connection".into())) };
        let mut ahead = Decided::on(decided.cloud.clone(), batch.head);
        let outcome = {
            let commit = in_time(async {
                match how {
                    How::Locked => session.append_and_commit(batch).await.map(|()| true),
                    How::IfHead => session.append_if_head(batch).await,
                }
            });
            tokio::pin!(commit);
            loop {
                let waits = !self.asks.is_empty() || !self.queue.is_empty();
                tokio::select! {
                    biased;
                    outcome = &mut commit => break outcome,
                    // Lets the connection's own task send what there is to send before this one computes.
                    () = tokio::task::yield_now(), if waits && !ahead.is_full() => {
                        while self.asks.len() < AT_ONCE && let Ok(ask) = self.queue.try_recv() {
                            self.asks.push(ask);
                        }
                        let later = self.asks.split_off(self.asks.len().min(AT_ONCE));
                        ahead.extend(&mut self.asks);
                        self.asks.extend(later);
                    }
                    more = self.queue.recv(), if !waits && !ahead.is_full() => match more {
                        Some(ask) => self.asks.push(ask),
                        None => break commit.await,
                    },
                }
            }
        };
        let ahead = Some(ahead).filter(|ahead| !ahead.asks.is_empty());
        let error = match outcome {
            Ok(true) => {
                self.ahead = ahead;
                return Ok(Outcome::Committed);
            }
            Ok(false) => {
                self.give_back(ahead);
                return Ok(Outcome::Moved);
            }
            Err(e) => e,
        };
        self.give_back(ahead);
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
                Ok(true) => return Ok(Outcome::Committed),
                Ok(false) => return Ok(Outcome::Absent(error.to_string())),
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

fn absent(decided: Decided, why: &str) {
    for ask in decided.asks {
        let _ = ask.tell.send(Err(Failure::Unavailable(why.into())));
    }
}

fn answer(decided: Decided) {
    let Decided { cloud, batch, asks, outcomes, .. } = decided;
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
