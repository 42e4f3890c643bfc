//! Reading the log by position and by stream.

use crate::append::READ_FROM;
use crate::row::follow;
use crate::{Head, Log, LogError, Raw};
use futures_util::{StreamExt, pin_mut};
use strata_events::{Hash, Recorded, Stream};

const READ_STREAM: &str = include_str!("../../../schema/queries/read_stream.sql");
const STREAM_END: &str = include_str!("../../../schema/queries/stream_end.sql");
const HASH_AT: &str = include_str!("../../../schema/queries/hash_at.sql");

impl Log {
    /// The events from this position on (the position itself included), at most `limit`.
    pub async fn read_from(&self, position: u64, limit: u32) -> Result<Vec<Recorded>, LogError> {
        self.rows_from(position, limit).await?.iter().map(Raw::decode).collect()
    }

    /// The same as stored, undecoded.
    pub async fn rows_from(&self, position: u64, limit: u32) -> Result<Vec<Raw>, LogError> {
        let client = self.client().await?;
        let query = client.prepare_cached(READ_FROM).await?;
        let rows = client.query(&query, &[&position.max(1).cast_signed(), &i64::from(limit)]).await?;
        rows.iter().map(Raw::from_row).collect()
    }

    /// The events of one stream after this version, at most `limit`.
    pub async fn read_stream(&self, stream: &Stream, after: u32, limit: u32) -> Result<Vec<Recorded>, LogError> {
        let client = self.client().await?;
        let query = client.prepare_cached(READ_STREAM).await?;
        let rows = client.query(&query, &[&stream.kind, &stream.id, &after.cast_signed(), &i64::from(limit)]).await?;
        rows.iter().map(|row| Raw::from_row(row)?.decode()).collect()
    }

    /// The last event of a stream; none if there is no such stream.
    pub async fn stream_end(&self, stream: &Stream) -> Result<Option<Recorded>, LogError> {
        let client = self.client().await?;
        let query = client.prepare_cached(STREAM_END).await?;
        let row = client.query_opt(&query, &[&stream.kind, &stream.id]).await?;
        row.map(|row| Raw::from_row(&row)?.decode()).transpose()
    }

    /// The hash of the event at a position; none if there is no such event. Position 0 has the empty hash.
    pub async fn hash_at(&self, position: u64) -> Result<Option<Hash>, LogError> {
        if position == 0 {
            return Ok(Some(Hash::default()));
        }
        let client = self.client().await?;
        let query = client.prepare_cached(HASH_AT).await?;
        let row = client.query_opt(&query, &[&position.cast_signed()]).await?;
        row.map(|row| crate::head::hash_of(&row, 0)).transpose()
    }

    /// Hands every event after `head` up to `to` to `each`, checked against the chain; `head` moves along. The rows stream:
    /// memory stays flat however long the log is.
    pub async fn fold<E: From<LogError>>(
        &self,
        head: &mut Head,
        to: u64,
        mut each: impl FnMut(Recorded) -> Result<(), E>,
    ) -> Result<(), E> {
        let client = self.client().await?;
        let query = client.prepare_cached(READ_FROM).await.map_err(LogError::from)?;
        // By pages, so that no statement runs into its time limit on a long log.
        while head.position < to {
            let limit = (to - head.position).min(50_000).cast_signed();
            let rows = client.query_raw(&query, [(head.position + 1).cast_signed(), limit]).await.map_err(LogError::from)?;
            pin_mut!(rows);
            let before = head.position;
            while let Some(row) = rows.next().await {
                let recorded = follow(&row.map_err(LogError::from)?, &mut head.hash, head.position + 1)?;
                head.position = recorded.position;
                each(recorded)?;
            }
            if head.position == before {
                return Err(LogError::Chain { position: before + 1, why: "it is missing".into() }.into());
            }
        }
        Ok(())
    }
}
