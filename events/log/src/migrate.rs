//! Migrations: they only go forward, each in one transaction, one replica at a time.

use crate::{LogError, parse};
use tokio_postgres::NoTls;

/// Version, name and SQL of every migration.
pub const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "log", include_str!("../../../schema/migrations/0001_log.sql")),
    (2, "calls", include_str!("../../../schema/migrations/0002_calls.sql")),
];
/// The schema version that this build needs.
pub(crate) const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].0;
const ROLES: &str = include_str!("../../../schema/roles.sql");
/// Any number will do, as long as all replicas use the same.
const ADVISORY_LOCK: i64 = 0x5354_5241_5441;

/// Brings the database to this build's schema, as its owner (who may create roles). Returns what was applied: nothing the
/// second time.
pub async fn migrate(owner_url: &str) -> Result<Vec<&'static str>, LogError> {
    let (mut client, connection) = parse(owner_url)?.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute("SET client_min_messages = warning").await?;
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await?;
    transaction.batch_execute(ROLES).await?;
    let done: i32 = transaction.query_one("SELECT coalesce(max(version), 0) FROM strata.migrations", &[]).await?.try_get(0)?;
    let mut applied = vec![];
    for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > done) {
        transaction.batch_execute(sql).await?;
        transaction.execute("INSERT INTO strata.migrations (version, name) VALUES ($1, $2)", &[version, name]).await?;
        applied.push(*name);
    }
    transaction.commit().await?;
    drop(client);
    connection.abort();
    Ok(applied)
}
