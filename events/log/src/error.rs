//! What can go wrong between a service and its log.

use std::error::Error;
use strata_events::DecodeError;

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the Postgres URL can't be used: {0}")]
    Config(String),
    #[error("Postgres can't be reached: {0}")]
    Unreachable(String),
    #[error("the database has schema version {have}, this build needs {need}: run `strata up` or `strata migrate` with the owner's URL")]
    NotMigrated { have: i32, need: i32 },
    #[error("Postgres: {}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("event {position} can't be read: {source}")]
    Decode { position: u64, source: DecodeError },
    #[error("event {position} was tampered with or damaged: {why}; run `strata audit verify`")]
    Chain { position: u64, why: String },
}

impl LogError {
    /// Postgres went away or refuses connections for now: trying again later may help.
    pub fn is_connection(&self) -> bool {
        match self {
            LogError::Unreachable(_) => true,
            // no code: the socket failed. 08 connection, 57P shutdown and crash, 53300 too many connections, 25P03 idle timeout
            LogError::Database(e) => match e.code() {
                None => true,
                Some(c) => c.code().starts_with("08") || c.code().starts_with("57P") || ["53300", "25P03"].contains(&c.code()),
            },
            _ => false,
        }
    }
}

impl From<deadpool_postgres::PoolError> for LogError {
    fn from(e: deadpool_postgres::PoolError) -> Self {
        match e {
            deadpool_postgres::PoolError::Backend(e) => LogError::Database(e),
            other => LogError::Unreachable(describe(&other)),
        }
    }
}

/// An error with its causes: tokio-postgres says "db error" and keeps the rest in the source.
pub(crate) fn describe(e: &dyn Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
