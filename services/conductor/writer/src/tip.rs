//! The tip: what this replica has applied. The writer, the reader and the follower all move it, each only forward; since
//! all fold the same log, whoever is further is right.

use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strata_events::Recorded;
use strata_log::{Head, Log, LogError, Session};
use strata_projections::{CannotApply, Cloud};
use tokio::sync::{Notify, broadcast, watch};

/// A step of the tip.
#[derive(Debug, Clone)]
pub struct Applied {
    pub before: Arc<Cloud>,
    pub after: Arc<Cloud>,
    /// Exactly the events between the two.
    pub events: Arc<[Arc<Recorded>]>,
    /// Committed by this replica: it is this one that reacts to them and tells the others.
    pub local: bool,
}

/// How many steps a slow receiver may be behind.
const STEPS: usize = 256;
/// How many events are read at once when catching up.
const PAGE: u32 = 5_000;

pub(crate) struct Tip {
    latest: ArcSwap<Cloud>,
    head: Mutex<Head>,
    positions: watch::Sender<u64>,
    applied: broadcast::Sender<Applied>,
}

/// What the tasks of one replica share.
pub(crate) struct Shared {
    pub log: Log,
    pub tip: Tip,
    pub hint: Notify,
    pub fatal: watch::Sender<Option<String>>,
}

impl Shared {
    /// The replica can't go on.
    pub fn stop(&self, why: &Fatal) {
        tracing::error!(%why, "this replica stops");
        self.fatal.send_if_modified(|fatal| fatal.is_none().then(|| *fatal = Some(why.to_string())).is_some());
    }
}

/// Why a replica stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error(transparent)]
    CannotApply(#[from] CannotApply),
    #[error(transparent)]
    Log(LogError),
    #[error("the log ends at position {log}, but position {here} was there before: it was cut off or restored; restart this replica")]
    WentBack { log: u64, here: u64 },
    #[error("the head of the log is not the hash of its last event, {0}; run `strata audit verify`")]
    Head(u64),
    #[error("the log refused events as already there, so it holds what this replica has not seen: {0}")]
    Disagree(String),
}

/// Why something could not be done now.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Postgres is away: again later.
    Away(LogError),
    Fatal(Fatal),
}
impl From<LogError> for Trouble {
    fn from(e: LogError) -> Self {
        match e {
            LogError::Decode { .. } | LogError::Chain { .. } => Trouble::Fatal(Fatal::Log(e)),
            _ => Trouble::Away(e),
        }
    }
}
impl From<Fatal> for Trouble {
    fn from(e: Fatal) -> Self {
        Trouble::Fatal(e)
    }
}

impl Tip {
    pub fn new(cloud: Cloud, head: Head) -> Self {
        debug_assert_eq!(cloud.position, head.position);
        Tip {
            positions: watch::Sender::new(cloud.position),
            latest: ArcSwap::from_pointee(cloud),
            head: Mutex::new(head),
            applied: broadcast::Sender::new(STEPS),
        }
    }
    pub fn latest(&self) -> Arc<Cloud> {
        self.latest.load_full()
    }
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.positions.subscribe()
    }
    pub fn subscribe(&self) -> broadcast::Receiver<Applied> {
        self.applied.subscribe()
    }
    fn lock(&self) -> MutexGuard<'_, Head> {
        // Nothing that panics runs under the lock.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The state with its head.
    pub fn now(&self) -> (Arc<Cloud>, Head) {
        let head = self.lock();
        (self.latest(), *head)
    }

    /// Moves forward to `cloud`, which is the present state, or an older one of this log, with `events` folded in.
    pub fn advance(&self, events: &[Arc<Recorded>], cloud: Arc<Cloud>, head: Head, local: bool) {
        let mut tip = self.lock();
        if head.position <= tip.position {
            return;
        }
        let new: Arc<[Arc<Recorded>]> = events.iter().filter(|e| e.position > tip.position).cloned().collect();
        assert_eq!(new.len() as u64, head.position - tip.position, "the tip moves without a gap");
        *tip = head;
        let before = self.latest.swap(cloud.clone());
        // without receivers there is nobody to tell
        let _ = self.applied.send(Applied { before, after: cloud, events: new, local });
        self.positions.send_replace(head.position);
    }

    /// Applies what the log has beyond the tip, up to `to`.
    pub async fn catch_up(&self, session: &Session, to: Head) -> Result<(Arc<Cloud>, Head), Trouble> {
        let (mut cloud, mut head) = self.now();
        if to.position < head.position {
            // Read before another task moved the tip: not an older log, unless the head is still behind.
            let again = session.head().await?;
            if again.position < head.position {
                return Err(Fatal::WentBack { log: again.position, here: head.position }.into());
            }
            return Ok((cloud, head));
        }
        while head.position < to.position {
            let limit = u32::try_from(to.position - head.position).unwrap_or(PAGE).min(PAGE);
            let events = session.follow(&mut head, limit).await?;
            if events.is_empty() {
                return Err(Fatal::Head(to.position).into());
            }
            let next = Arc::make_mut(&mut cloud);
            for event in &events {
                next.apply(event).map_err(Fatal::from)?;
            }
            self.advance(&events, cloud.clone(), head, false);
        }
        if head != to {
            return Err(Fatal::Head(to.position).into());
        }
        Ok((cloud, head))
    }
}
