//! Snapshots in the background, so that a start folds only the end of the log.

use crate::tip::Shared;
use std::sync::Arc;
use std::time::Duration;
use strata_log::{Head, LogError, Snapshot};
use strata_projections::Cloud;

/// Names what a snapshot's bytes mean: the encoding and the fold that made them.
pub(crate) const FORMAT: &str = concat!("cbor-", env!("STRATA_FOLD"));
/// Taking one costs as much as reading one: under load they are further apart.
const PAUSE: Duration = Duration::from_secs(60);

pub(crate) async fn run(shared: Arc<Shared>, every: u64, mut last: u64) {
    let mut positions = shared.tip.positions();
    loop {
        // A tenth more log costs a tenth more at the next start, so a long log is not encoded over and over.
        let due = last.saturating_add(every.max(last / 10));
        if positions.wait_for(|position| *position >= due).await.is_err() {
            return;
        }
        let (cloud, head) = shared.tip.now();
        match save(&shared, cloud, head).await {
            Ok(()) => last = head.position,
            Err(e) => tracing::warn!(error = %e, position = head.position, "no snapshot was saved; trying again later"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Saves the state at a position.
pub(crate) async fn save(shared: &Shared, cloud: Arc<Cloud>, head: Head) -> Result<(), LogError> {
    let encode = move || Snapshot { head, format: FORMAT.into(), digest: cloud.digest(), bytes: cloud.to_snapshot() };
    let snapshot = tokio::task::spawn_blocking(encode).await.map_err(|e| LogError::Unreachable(e.to_string()))?;
    shared.log.save_snapshot(&snapshot).await?;
    tracing::info!(position = head.position, bytes = snapshot.bytes.len(), "saved a snapshot");
    Ok(())
}
