//! `strata audit verify`: walks the whole log and proves that nothing was changed, removed, added or reordered.

use crate::append::READ_FROM;
use crate::row::chained;
use crate::{Head, Log, LogError};
use futures_util::{StreamExt, pin_mut};
use std::collections::HashMap;
use strata_events::Hash;

/// The first thing that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {why}")]
pub struct Flaw {
    pub position: u64,
    pub why: String,
}

/// What the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many events were checked.
    pub events: u64,
    /// The hash of the last: written down elsewhere, it also proves that the end was not cut off.
    pub head: Head,
    pub flaw: Option<Flaw>,
}

impl Log {
    /// Checks positions, stream versions, the hash chain and the head, up to the head as it is now. `progress` hears each
    /// 100,000th position.
    pub async fn verify(&self, mut progress: impl FnMut(u64)) -> Result<Verdict, LogError> {
        let head = self.head().await?;
        let client = self.client().await?;
        let query = client.prepare_cached(READ_FROM).await?;
        let mut verdict = Verdict { events: 0, head: Head::default(), flaw: None };
        let mut versions: HashMap<Hash128, u32> = HashMap::new();
        while verdict.events < head.position {
            let from = verdict.events + 1;
            let limit = (head.position - verdict.events).min(50_000).cast_signed();
            let rows = client.query_raw(&query, [from.cast_signed(), limit]).await?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await {
                let row = row?;
                let (c, hash) = chained(&row)?;
                let position = verdict.events + 1;
                let version = versions.entry(key(c.kind, c.id)).or_insert(0);
                let why = if c.position != position {
                    Some("it is missing".to_owned())
                } else if c.version != *version + 1 {
                    Some(format!("version {} of {}/{} follows version {version}", c.version, c.kind, c.id))
                } else if verdict.head.hash.chain(&c) != hash {
                    Some("the event, or the one before it, is not what was written: the hash does not follow".into())
                } else {
                    None
                };
                if let Some(why) = why {
                    verdict.flaw = Some(Flaw { position, why });
                    return Ok(verdict);
                }
                *version += 1;
                verdict.events = position;
                verdict.head = Head { position, hash };
                if position.is_multiple_of(100_000) {
                    progress(position);
                }
            }
            if verdict.events + 1 == from {
                verdict.flaw = Some(Flaw { position: from, why: "it is missing, though the head is further".into() });
                return Ok(verdict);
            }
        }
        if verdict.head != head {
            verdict.flaw = Some(Flaw { position: head.position, why: "the head's hash is not that of the last event".into() });
        }
        // Rows past the head can't come from an append, which moves the head in the same transaction. (A replica may append
        // while this runs: then the head has moved as well.)
        let last: i64 = client.query_one("SELECT coalesce(max(position), 0) FROM strata.events", &[]).await?.try_get(0)?;
        if verdict.flaw.is_none() && last.unsigned_abs() > self.head().await?.position {
            verdict.flaw = Some(Flaw { position: last.unsigned_abs(), why: "it stands beyond the head".into() });
        }
        Ok(verdict)
    }
}

type Hash128 = u128;
/// Streams by a hash of their name: a long log has too many names to hold them all.
fn key(kind: &str, id: &str) -> Hash128 {
    let row = strata_events::Chained {
        position: 0,
        kind,
        id,
        version: 0,
        recorded_at: Default::default(),
        actor: "",
        request_id: "",
        caused_by: None,
        type_name: "",
        schema_version: 0,
        body: "",
    };
    let hash = Hash::default().chain(&row).0;
    u128::from_be_bytes(std::array::from_fn(|i| hash[i]))
}
