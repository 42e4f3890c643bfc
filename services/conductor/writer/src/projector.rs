//! The projector: keeps Postgres' schema `read` (see strata_projections::read and schema/read/). Rows and checkpoint are
//! written in one transaction. One projector works at a time, whoever holds the lock; the others wait to take over.
//!
//! The schema may be dropped while this runs: it is made again from the state, and the audit trail from the log.

use crate::handle::Conductor;
use crate::writer::backoff;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use strata_log::LogError;
use strata_projections::Cloud;
use strata_projections::read::{self, Change, Row};
use tokio_postgres::{Client, Transaction};

const SCHEMA: &str = include_str!("../../../../schema/read/read.sql");
const VIEWS: &str = include_str!("../../../../schema/read/views.sql");
const UPSERT: &str = include_str!("../../../../schema/read/upsert.sql");
const AUDIT: &str = include_str!("../../../../schema/read/audit.sql");

/// Names this projection: its SQL and the fold. Another one starts afresh.
const VERSION: &str = concat!(env!("STRATA_READ"), "-", env!("STRATA_FOLD"));
/// Any number will do, as long as all projectors use the same.
const ADVISORY_LOCK: i64 = 0x5354_5245_4144;
/// Changes that follow each other this fast share a transaction.
const GATHER: Duration = Duration::from_millis(200);
/// How often an idle projector looks whether its schema is still there, and how often a waiting one tries to take over.
const LOOK: Duration = Duration::from_secs(3);
/// Rows in one statement.
const ROWS: usize = 1_000;
/// Positions of the log that one statement of the audit trail spans.
const SPAN: u64 = 20_000;

impl Conductor {
    /// Keeps the schema `read`, for ever.
    pub async fn project(&self) {
        let mut tries = 0;
        loop {
            if let Err(error) = self.project_until_trouble(&mut tries).await {
                tracing::warn!(%error, "the read schema can't be kept for now; trying again");
            }
            tokio::time::sleep(backoff(tries).max(GATHER)).await;
            tries += 1;
        }
    }

    async fn project_until_trouble(&self, tries: &mut usize) -> Result<(), LogError> {
        let mut client = self.log().connection().await?;
        while !client.query_one("SELECT pg_try_advisory_lock($1)", &[&ADVISORY_LOCK]).await?.get::<_, bool>(0) {
            *tries = 0;
            tokio::time::sleep(LOOK).await;
        }
        let mut watch = self.watch();
        let mut done = self.rebuild(&mut client).await?;
        *tries = 0;
        loop {
            // A watch that times out, and one whose sender is gone, both lead to a look at the checkpoint.
            let more = tokio::time::timeout(LOOK, watch.wait_for(|p| *p > done.position)).await.is_ok_and(|w| w.is_ok());
            if more {
                tokio::time::sleep(GATHER).await;
            }
            let next = self.latest();
            let transaction = client.transaction().await?;
            if checkpoint(&transaction, "resources").await? != Some(done.position) {
                tracing::info!("the read schema was dropped or is another's: making it again");
                drop(transaction);
                done = self.rebuild(&mut client).await?;
                continue;
            }
            if next.position > done.position {
                let mut changes = read::changes(&done, &next).peekable();
                while changes.peek().is_some() {
                    write(&transaction, changes.by_ref().take(ROWS).collect(), next.position).await?;
                }
                drop(changes);
                audit(&transaction, done.position, next.position).await?;
                set_checkpoint(&transaction, "resources", next.position).await?;
                set_checkpoint(&transaction, "audit", next.position).await?;
            }
            transaction.commit().await?;
            done = next;
        }
    }

    /// Makes the schema if it is missing or another version's, then whatever of it differs from the state.
    async fn rebuild(&self, client: &mut Client) -> Result<Arc<Cloud>, LogError> {
        if client.query_opt("SELECT FROM pg_namespace WHERE nspname = 'read'", &[]).await?.is_none() || !current(client).await? {
            let transaction = client.transaction().await?;
            transaction.batch_execute(SCHEMA).await?;
            transaction.batch_execute(VIEWS).await?;
            for projection in ["resources", "audit"] {
                transaction
                    .execute("INSERT INTO read.checkpoint (projection, position, version) VALUES ($1, 0, $2)", &[&projection, &VERSION])
                    .await?;
            }
            transaction.commit().await?;
        }
        let cloud = self.latest();
        let transaction = client.transaction().await?;
        let rows = transaction.query("SELECT kind, id, digest FROM read.resources", &[]).await?;
        let mut there: HashMap<(String, String), i64> = rows.iter().map(|r| ((r.get(0), r.get(1)), r.get(2))).collect();
        let nothing = Cloud::default();
        let mut changes = read::changes(&nothing, &cloud).filter(|change| match change {
            Change::Put(row) => there.remove(&(row.kind.to_owned(), clean(&row.id))) != Some(digest(row)),
            Change::Gone { .. } => true,
        });
        loop {
            let some: Vec<Change> = changes.by_ref().take(ROWS).collect();
            if some.is_empty() {
                break;
            }
            write(&transaction, some, cloud.position).await?;
        }
        drop(changes);
        let (kinds, ids): (Vec<String>, Vec<String>) = there.into_keys().unzip();
        remove(&transaction, &kinds, &ids).await?;
        set_checkpoint(&transaction, "resources", cloud.position).await?;
        transaction.commit().await?;
        // The trail comes from the log itself, in steps, so that no transaction is long.
        loop {
            let transaction = client.transaction().await?;
            let from = checkpoint(&transaction, "audit").await?.unwrap_or(0);
            if from >= cloud.position {
                break;
            }
            let to = (from + SPAN).min(cloud.position);
            audit(&transaction, from, to).await?;
            set_checkpoint(&transaction, "audit", to).await?;
            transaction.commit().await?;
        }
        tracing::info!(position = cloud.position, "the read schema is up to date");
        Ok(cloud)
    }
}

/// Whether the schema is this version's.
async fn current(client: &Client) -> Result<bool, LogError> {
    let found = client.query_opt("SELECT to_regclass('read.checkpoint') IS NOT NULL", &[]).await?;
    if !found.is_some_and(|row| row.get(0)) {
        return Ok(false);
    }
    let row = client.query_opt("SELECT version FROM read.checkpoint WHERE projection = 'resources'", &[]).await?;
    Ok(row.is_some_and(|row| row.get::<_, &str>(0) == VERSION))
}

/// Locks the checkpoint. None if it, or its table, is not there.
async fn checkpoint(transaction: &Transaction<'_>, projection: &str) -> Result<Option<u64>, LogError> {
    let found = transaction.query_one("SELECT to_regclass('read.checkpoint') IS NOT NULL", &[]).await?;
    if !found.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = transaction
        .query_opt("SELECT position FROM read.checkpoint WHERE projection = $1 AND version = $2 FOR UPDATE", &[&projection, &VERSION])
        .await?;
    Ok(row.map(|row| row.get::<_, i64>(0).unsigned_abs()))
}

async fn set_checkpoint(transaction: &Transaction<'_>, projection: &str, position: u64) -> Result<(), LogError> {
    transaction
        .execute(
            "UPDATE read.checkpoint SET position = $2, updated_at = now() WHERE projection = $1",
            &[&projection, &position.cast_signed()],
        )
        .await?;
    Ok(())
}

async fn audit(transaction: &Transaction<'_>, from: u64, to: u64) -> Result<(), LogError> {
    transaction.execute(AUDIT, &[&from.cast_signed(), &to.cast_signed()]).await?;
    Ok(())
}

async fn write(transaction: &Transaction<'_>, changes: Vec<Change>, position: u64) -> Result<(), LogError> {
    let (mut gone_kinds, mut gone_ids, mut rows) = (vec![], vec![], vec![]);
    for change in changes {
        match change {
            Change::Put(row) => rows.push(row),
            Change::Gone { kind, id } => {
                gone_kinds.push(kind.to_owned());
                gone_ids.push(clean(&id));
            }
        }
    }
    remove(transaction, &gone_kinds, &gone_ids).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = rows.iter().map(|r| r.kind).collect();
    let ids: Vec<String> = rows.iter().map(|r| clean(&r.id)).collect();
    let projects: Vec<Option<&str>> = rows.iter().map(|r| r.project.as_deref()).collect();
    let names: Vec<Option<String>> = rows.iter().map(|r| r.name.as_deref().map(clean)).collect();
    let statuses: Vec<Option<&str>> = rows.iter().map(|r| r.status.as_deref()).collect();
    let documents: Vec<String> = rows.iter().map(document).collect();
    let digests: Vec<i64> = rows.iter().map(digest).collect();
    transaction.execute(UPSERT, &[&kinds, &ids, &projects, &names, &statuses, &documents, &digests, &position.cast_signed()]).await?;
    Ok(())
}

async fn remove(transaction: &Transaction<'_>, kinds: &[String], ids: &[String]) -> Result<(), LogError> {
    if !ids.is_empty() {
        transaction
            .execute(
                "DELETE FROM read.resources r USING unnest($1::text[], $2::text[]) AS g (kind, id) WHERE r.kind = g.kind AND r.id = g.id",
                &[&kinds, &ids],
            )
            .await?;
    }
    Ok(())
}

/// Postgres' text and jsonb hold every character but NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
fn document(row: &Row) -> String {
    let text = row.document.to_string();
    if text.contains("\\u0000") { text.replace("\\u0000", "\\ufffd") } else { text }
}

/// Tells whether a row is as it was written: FNV-1a of all that the row tells.
fn digest(row: &Row) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let parts = [row.project.as_deref(), row.name.as_deref(), row.status.as_deref(), Some(&document(row))];
    for byte in parts.into_iter().flat_map(|part| part.unwrap_or_default().bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.cast_signed()
}
