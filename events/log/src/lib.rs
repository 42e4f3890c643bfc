//! The log: every event in one order, in Postgres, and the few tables that stand beside it (snapshots, secrets, keys,
//! audited calls, replicas). The SQL is in schema/.
//!
//! **Invariants.** Positions are gapless and in commit order, because whoever appends holds the head's row (invariant 1).
//! Every row read for folding is checked against the hash chain. The role that the services act as can't change or remove
//! an event: the database refuses.

mod append;
mod calls;
mod error;
mod head;
mod keys;
mod migrate;
mod read;
mod replicas;
mod row;
mod secrets;
mod snapshots;
mod verify;

pub use append::{Batch, Entry, Session};
pub use calls::AuditedCall;
pub use error::LogError;
pub use head::Head;
pub use keys::{Key, Keys};
pub use migrate::{MIGRATIONS, migrate};
pub use replicas::{Replica, ReplicaSeen};
pub use row::Raw;
pub use secrets::Secrets;
pub use snapshots::Snapshot;
pub use verify::{Flaw, Verdict};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use std::time::Duration;
use tokio_postgres::{Config, NoTls};

/// The role that services act as; see schema/roles.sql.
pub const SERVICE_ROLE: &str = "strata_service";
/// The largest event body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Where the log is.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `postgres://user:password@host/db`, or `host=/run/dir user=… dbname=…` for a Unix socket.
    pub url: String,
    /// How many connections read at once, at most.
    pub readers: usize,
}

impl LogConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), readers: 4 }
    }
}

/// A handle to the log; cloning it is cheap. It connects when needed and again when Postgres comes back.
#[derive(Debug, Clone)]
pub struct Log {
    config: Config,
    pool: Pool,
}

impl Log {
    /// Connects, and checks that the database has the schema that this build needs.
    pub async fn connect(config: &LogConfig) -> Result<Log, LogError> {
        let log = Log::lazy(config)?;
        let client = log.client().await?;
        let need = migrate::NEWEST;
        let have: i32 = match client.query_one("SELECT coalesce(max(version), 0) FROM strata.migrations", &[]).await {
            Ok(row) => row.get(0),
            // undefined table or schema: nothing was ever migrated here
            Err(e) if e.code().is_some_and(|c| ["42P01", "3F000"].contains(&c.code())) => 0,
            Err(e) => return Err(e.into()),
        };
        if have < need {
            return Err(LogError::NotMigrated { have, need });
        }
        Ok(log)
    }

    fn lazy(config: &LogConfig) -> Result<Log, LogError> {
        let pg = parse(&config.url)?;
        let manager = Manager::from_config(pg.clone(), NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let wait = Some(Duration::from_secs(10));
        let pool = Pool::builder(manager)
            .max_size(config.readers.max(1))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move { client.batch_execute(PREPARE_SESSION).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|e| LogError::Config(e.to_string()))?;
        Ok(Log { config: pg, pool })
    }

    /// A connection from the readers' pool, acting as the services' role.
    pub async fn client(&self) -> Result<Object, LogError> {
        self.pool.get().await.map_err(LogError::from)
    }
}

/// Acting as the services' role makes the database refuse what a service must not do, also when the URL names the owner.
/// A session that stalls while it holds the head is ended, so that the other replicas go on.
const PREPARE_SESSION: &str = "SET ROLE strata_service; SET idle_in_transaction_session_timeout = '10s'; \
     SET statement_timeout = '60s'; SET client_min_messages = warning; SET timezone = 'UTC'; SET jit = off";

fn parse(url: &str) -> Result<Config, LogError> {
    // The URL may hold a password: it is not repeated in the error.
    let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| LogError::Config(error::describe(&e)))?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    if config.get_application_name().is_none() {
        config.application_name("strata");
    }
    Ok(config)
}
