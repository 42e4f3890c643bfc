//! Who serves, and how far behind the log.

use crate::row::Micros;
use crate::{Log, LogError};
use strata_events::Timestamp;

/// What a process says of itself every few seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Unique: host name and process id, or what the operator chose.
    pub name: String,
    /// What it runs: `api`, `conductor`, `scheduler`, …
    pub services: Vec<String>,
    pub version: String,
    /// The position that it has applied.
    pub applied: u64,
    pub started_at: Timestamp,
    /// JSON: what else it wants to be seen (lag of the mirror, of the plans, of the projector).
    pub details: String,
}

/// The same as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSeen {
    pub replica: Replica,
    pub seen_at: Timestamp,
    /// By the database's clock, so that the hosts' clocks don't matter.
    pub millis_ago: i64,
}

impl Log {
    /// Says that this replica lives; those not seen for a day are forgotten.
    pub async fn heartbeat(&self, r: &Replica) -> Result<(), LogError> {
        let client = self.client().await?;
        let query = client
            .prepare_cached(
                "INSERT INTO strata.replicas (name, services, version, applied, started_at, seen_at, details) \
                 VALUES ($1, $2, $3, $4, $5, now(), $6::text::json) ON CONFLICT (name) DO UPDATE SET services = excluded.services, \
                 version = excluded.version, applied = excluded.applied, started_at = excluded.started_at, seen_at = excluded.seen_at, \
                 details = excluded.details",
            )
            .await?;
        client.execute(&query, &[&r.name, &r.services, &r.version, &r.applied.cast_signed(), &Micros(r.started_at), &r.details]).await?;
        Ok(())
    }

    /// A replica that stops in order says so.
    pub async fn goodbye(&self, name: &str) -> Result<(), LogError> {
        let client = self.client().await?;
        client.execute("DELETE FROM strata.replicas WHERE name = $1 OR seen_at < now() - interval '1 day'", &[&name]).await?;
        Ok(())
    }

    /// All replicas that were seen within a day, by name.
    pub async fn replicas(&self) -> Result<Vec<ReplicaSeen>, LogError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT name, services, version, applied, started_at, details::text, seen_at, \
                 (extract(epoch FROM now() - seen_at) * 1000)::bigint FROM strata.replicas WHERE seen_at > now() - interval '1 day' ORDER BY name",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReplicaSeen {
                    replica: Replica {
                        name: row.try_get(0)?,
                        services: row.try_get(1)?,
                        version: row.try_get(2)?,
                        applied: row.try_get::<_, i64>(3)?.unsigned_abs(),
                        started_at: row.try_get::<_, Micros>(4)?.0,
                        details: row.try_get(5)?,
                    },
                    seen_at: row.try_get::<_, Micros>(6)?.0,
                    millis_ago: row.try_get(7)?,
                })
            })
            .collect()
    }
}
