//! Starting a replica: the newest snapshot that reads, the rest of the log, then the tasks.

use crate::audit::Audit;
use crate::handle::Conductor;
use crate::reader::MAX_WAITING;
use crate::snapshots::FORMAT;
use crate::tip::{Shared, Tip};
use crate::writer::Writer;
use crate::{follow, reactions, reader, snapshots};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_log::{Head, Log, LogError};
use strata_projections::{CannotApply, Cloud};
use tokio::sync::{Notify, mpsc, watch};

/// How a replica behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many commands may wait; one more is refused as busy.
    pub queue: usize,
    /// How long a command or a read waits for Postgres to come back.
    pub patience: Duration,
    /// How often the log is looked at when no hint comes.
    pub poll: Duration,
    /// How many events lie between two snapshots.
    pub snapshot_every: u64,
    /// Whether what follows an event committed here is done here.
    pub react: bool,
}
impl Default for Options {
    fn default() -> Self {
        Options { queue: 4096, patience: Duration::from_secs(10), poll: Duration::from_millis(500), snapshot_every: 20_000, react: true }
    }
}

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    CannotApply(#[from] CannotApply),
}

impl Conductor {
    /// Folds the log and starts the tasks.
    pub async fn start(log: Log, options: Options) -> Result<Conductor, StartError> {
        let begun = Instant::now();
        let (mut cloud, mut head) = from_snapshot(&log).await?;
        let snapshot = head.position;
        let to = log.head().await?.position;
        log.fold(&mut head, to, |recorded| cloud.apply(&recorded).map_err(StartError::from)).await?;
        tracing::info!(snapshot, position = head.position, millis = begun.elapsed().as_millis(), "folded the log");

        let audit = Audit::start(log.clone());
        let shared = Arc::new(Shared { log, tip: Tip::new(cloud, head), hint: Notify::new(), fatal: watch::Sender::new(None) });
        let (asks, asked) = mpsc::channel(options.queue);
        let (reads, waiting) = mpsc::channel(MAX_WAITING);
        let conductor = Conductor { shared: shared.clone(), asks, reads, patience: options.patience, audit };
        if options.react {
            tokio::spawn(reactions::run(conductor.clone(), conductor.applied()));
        }
        tokio::spawn(Writer::new(shared.clone(), asked).run());
        tokio::spawn(reader::run(shared.clone(), waiting));
        tokio::spawn(follow::run(conductor.clone(), options.poll));
        tokio::spawn(snapshots::run(shared, options.snapshot_every, snapshot));
        Ok(conductor)
    }

    /// Saves a snapshot of the present state now.
    pub async fn save_snapshot(&self) -> Result<u64, LogError> {
        let (cloud, head) = self.shared.tip.now();
        snapshots::save(&self.shared, cloud, head).await?;
        Ok(head.position)
    }
}

/// The newest snapshot that reads, or nothing.
async fn from_snapshot(log: &Log) -> Result<(Cloud, Head), LogError> {
    let Some(snapshot) = log.snapshot_before(u64::MAX, FORMAT).await? else { return Ok(Default::default()) };
    let head = snapshot.head;
    match tokio::task::spawn_blocking(move || Cloud::from_snapshot(&snapshot.bytes)).await {
        Ok(Ok(cloud)) if cloud.position == head.position => Ok((cloud, head)),
        Ok(Ok(cloud)) => {
            tracing::warn!(position = head.position, "the snapshot holds position {} instead: folding the whole log", cloud.position);
            Ok(Default::default())
        }
        Ok(Err(error)) => {
            tracing::warn!(position = head.position, error, "the snapshot does not read: folding the whole log");
            Ok(Default::default())
        }
        Err(e) => Err(LogError::Unreachable(e.to_string())),
    }
}
