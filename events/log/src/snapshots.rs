//! Snapshots of the folded state: a shortcut for starting, never the truth.

use crate::head::hash_of;
use crate::{Head, Log, LogError};
use strata_events::Hash;

/// The folded state at a position, as bytes that only their writer understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The position with the hash that the log had there: a snapshot of another log is not taken.
    pub head: Head,
    /// Names the encoding; a reader that knows another one folds the log instead.
    pub format: String,
    pub digest: Hash,
    pub bytes: Vec<u8>,
}

/// A row's worth: far from Postgres' limit of 1 GiB, and little to hold twice.
const CHUNK: usize = 4 << 20;
/// How many snapshots stay: the newest, and one in case that it does not read.
const KEEP: i64 = 2;

impl Log {
    /// Saves a snapshot and forgets the ones before the last. Of two replicas that save the same position one wins.
    pub async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let position = snapshot.head.position.cast_signed();
        let chunks: Vec<&[u8]> = snapshot.bytes.chunks(CHUNK).collect();
        let count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
        let new = transaction
            .execute(
                "INSERT INTO strata.snapshots (position, format, hash, digest, chunks) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                &[&position, &snapshot.format, &&snapshot.head.hash.0[..], &&snapshot.digest.0[..], &count],
            )
            .await?;
        if new == 0 {
            return Ok(());
        }
        for (number, chunk) in (0..count).zip(chunks) {
            transaction
                .execute("INSERT INTO strata.snapshot_chunks (position, chunk, bytes) VALUES ($1, $2, $3)", &[&position, &number, &chunk])
                .await?;
        }
        transaction
            .execute(
                "DELETE FROM strata.snapshots WHERE position NOT IN (SELECT position FROM strata.snapshots ORDER BY position DESC LIMIT $1)",
                &[&KEEP],
            )
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The newest snapshot of this encoding at or below a position, whose hash is the one that the log has there.
    pub async fn snapshot_before(&self, position: u64, format: &str) -> Result<Option<Snapshot>, LogError> {
        let client = self.client().await?;
        let at = i64::try_from(position).unwrap_or(i64::MAX);
        let row = client
            .query_opt(
                "SELECT s.position, s.hash, s.digest, s.chunks FROM strata.snapshots s JOIN strata.events e USING (position, hash) \
                 WHERE s.format = $1 AND s.position <= $2 ORDER BY s.position DESC LIMIT 1",
                &[&format, &at],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (at, count): (i64, i32) = (row.try_get(0)?, row.try_get(3)?);
        let mut bytes = Vec::new();
        for number in 0..count {
            let chunk =
                client.query_opt("SELECT bytes FROM strata.snapshot_chunks WHERE position = $1 AND chunk = $2", &[&at, &number]).await?;
            // forgotten by another replica meanwhile
            let Some(chunk) = chunk else { return Ok(None) };
            bytes.extend_from_slice(chunk.try_get(0)?);
        }
        let head = Head { position: at.unsigned_abs(), hash: hash_of(&row, 1)? };
        Ok(Some(Snapshot { head, format: format.into(), digest: hash_of(&row, 2)?, bytes }))
    }
}
