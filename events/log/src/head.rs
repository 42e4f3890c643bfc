//! The head: the last position and its hash.

use crate::{Log, LogError};
use strata_events::Hash;
use tokio_postgres::Row;

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub position: u64,
    pub hash: Hash,
}

pub(crate) const HEAD: &str = include_str!("../../../schema/queries/head.sql");

pub(crate) fn head_of(row: &Row) -> Result<Head, LogError> {
    Ok(Head { position: row.try_get::<_, i64>(0)?.unsigned_abs(), hash: hash_of(row, 1)? })
}

/// A hash column.
pub(crate) fn hash_of(row: &Row, column: usize) -> Result<Hash, LogError> {
    let bytes: &[u8] = row.try_get(column)?;
    // A hash of another length was not written by us: it will not match the chain.
    Ok(Hash(bytes.try_into().unwrap_or_default()))
}

impl Log {
    /// The last committed position and its hash.
    pub async fn head(&self) -> Result<Head, LogError> {
        let client = self.client().await?;
        let query = client.prepare_cached(HEAD).await?;
        head_of(&client.query_one(&query, &[]).await?)
    }
}
