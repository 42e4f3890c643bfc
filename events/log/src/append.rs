//! Appending: a session of its own that locks the head, reads what it missed, and adds a batch in one round trip.

use crate::head::{HEAD, head_of};
use crate::row::{Micros, follow};
use crate::{Head, Log, LogError, PREPARE_SESSION};
use futures_util::future::join;
use futures_util::{StreamExt, pin_mut};
use std::sync::Arc;
use strata_events::{Chained, Hash, Recorded};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

const LOCK_HEAD: &str = include_str!("../../../schema/queries/lock_head.sql");
const APPEND: &str = include_str!("../../../schema/queries/append.sql");
const APPEND_IF: &str = include_str!("../../../schema/queries/append_if.sql");
const HASH_AT: &str = include_str!("../../../schema/queries/hash_at.sql");
pub(crate) const READ_FROM: &str = include_str!("../../../schema/queries/read_from.sql");

/// An event that is about to be appended, encoded.
#[derive(Debug)]
pub struct Entry {
    pub recorded: Arc<Recorded>,
    pub kind: &'static str,
    pub id: String,
    /// JSON
    pub actor: Arc<str>,
    /// JSON
    pub body: String,
    pub hash: Hash,
}

/// A run of events that follows a head.
#[derive(Debug)]
pub struct Batch {
    /// The head that it follows.
    pub after: Head,
    /// The head that it leads to.
    pub head: Head,
    pub entries: Vec<Entry>,
}

impl Batch {
    pub fn new(after: Head) -> Self {
        Batch { after, head: after, entries: Vec::new() }
    }
    /// Adds the next event and chains it.
    pub fn push(&mut self, recorded: Arc<Recorded>, id: String, actor: Arc<str>, body: String) {
        let event = &recorded.event;
        let kind = event.kind();
        let hash = self.head.hash.chain(&Chained {
            position: recorded.position,
            kind,
            id: &id,
            version: recorded.version,
            recorded_at: recorded.recorded_at,
            actor: &actor,
            request_id: &recorded.request_id,
            caused_by: recorded.caused_by,
            type_name: event.type_name(),
            schema_version: event.schema_version(),
            body: &body,
        });
        debug_assert_eq!(recorded.position, self.head.position + 1);
        self.head = Head { position: recorded.position, hash };
        self.entries.push(Entry { recorded, kind, id, actor, body, hash });
    }
}

/// One connection with its statements prepared: the writer has one, and the linearizable reader has one.
pub struct Session {
    client: Client,
    lock_head: Statement,
    head: Statement,
    append: Statement,
    append_if: Statement,
    hash_at: Statement,
    read_from: Statement,
}

impl Log {
    /// Opens a bare connection of one's own, acting as the services' role.
    pub async fn connection(&self) -> Result<Client, LogError> {
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %crate::error::describe(&e), "a connection to Postgres ended");
            }
        });
        client.batch_execute(PREPARE_SESSION).await?;
        Ok(client)
    }

    /// Opens a connection of one's own with the log's statements prepared.
    pub async fn session(&self) -> Result<Session, LogError> {
        let client = self.connection().await?;
        Ok(Session {
            lock_head: client.prepare(LOCK_HEAD).await?,
            head: client.prepare(HEAD).await?,
            append: client.prepare(APPEND).await?,
            append_if: client.prepare(APPEND_IF).await?,
            hash_at: client.prepare(HASH_AT).await?,
            read_from: client.prepare(READ_FROM).await?,
            client,
        })
    }
}

/// A batch as the arrays that Postgres takes.
struct Columns<'a> {
    positions: Vec<i64>,
    kinds: Vec<&'a str>,
    ids: Vec<&'a str>,
    versions: Vec<i32>,
    times: Vec<Micros>,
    actors: Vec<&'a str>,
    requests: Vec<&'a str>,
    causes: Vec<Option<i64>>,
    types: Vec<&'a str>,
    schemas: Vec<i16>,
    bodies: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
    last: i64,
    last_hash: &'a [u8],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a Batch) -> Self {
        let e = &batch.entries;
        Columns {
            positions: e.iter().map(|e| e.recorded.position.cast_signed()).collect(),
            kinds: e.iter().map(|e| e.kind).collect(),
            ids: e.iter().map(|e| e.id.as_str()).collect(),
            versions: e.iter().map(|e| e.recorded.version.cast_signed()).collect(),
            times: e.iter().map(|e| Micros(e.recorded.recorded_at)).collect(),
            actors: e.iter().map(|e| &*e.actor).collect(),
            requests: e.iter().map(|e| e.recorded.request_id.as_str()).collect(),
            causes: e.iter().map(|e| e.recorded.caused_by.map(u64::cast_signed)).collect(),
            types: e.iter().map(|e| e.recorded.event.type_name()).collect(),
            schemas: e.iter().map(|e| e.recorded.event.schema_version().cast_signed()).collect(),
            bodies: e.iter().map(|e| e.body.as_str()).collect(),
            hashes: e.iter().map(|e| &e.hash.0[..]).collect(),
            last: batch.head.position.cast_signed(),
            last_hash: &batch.head.hash.0[..],
        }
    }
    fn parameters(&self) -> [&(dyn ToSql + Sync); 14] {
        [
            &self.positions,
            &self.kinds,
            &self.ids,
            &self.versions,
            &self.times,
            &self.actors,
            &self.requests,
            &self.causes,
            &self.types,
            &self.schemas,
            &self.bodies,
            &self.hashes,
            &self.last,
            &self.last_hash,
        ]
    }
}

impl Session {
    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Opens a transaction and locks the head, in one round trip. Waits while another replica holds it.
    pub async fn lock_head(&self) -> Result<Head, LogError> {
        let (begun, locked) = join(self.client.batch_execute("BEGIN"), self.client.query_one(&self.lock_head, &[])).await;
        begun?;
        head_of(&locked?)
    }

    /// The head as committed now, without locking.
    pub async fn head(&self) -> Result<Head, LogError> {
        head_of(&self.client.query_one(&self.head, &[]).await?)
    }

    /// Gives the head up with nothing changed.
    pub async fn release(&self) -> Result<(), LogError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }

    /// Inserts the batch, moves the locked head and commits, in one round trip. After an error that is not the database's own
    /// refusal the outcome is unknown: ask [`Session::holds`] on a new session.
    pub async fn append_and_commit(&self, batch: &Batch) -> Result<(), LogError> {
        let columns = Columns::of(batch);
        let (inserted, committed) =
            join(self.client.execute(&self.append, &columns.parameters()), self.client.batch_execute("COMMIT")).await;
        // After a refused INSERT the COMMIT is a rollback and says so only in its tag: the INSERT's own answer decides.
        inserted?;
        Ok(committed?)
    }

    /// Without the lock: locks the head, looks whether it still is where the batch begins, inserts, moves it and commits, as one
    /// statement in one round trip. False: the head has moved, and nothing was changed. Errors as above.
    pub async fn append_if_head(&self, batch: &Batch) -> Result<bool, LogError> {
        let columns = Columns::of(batch);
        let (after, hash) = (batch.after.position.cast_signed(), &batch.after.hash.0[..]);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = columns.parameters().into();
        parameters.extend([&after as &(dyn ToSql + Sync), &hash]);
        Ok(self.client.execute(&self.append_if, &parameters).await? == 1)
    }

    /// Whether a batch whose outcome was unknown is in the log. Locks the head, so that the transaction that tried has
    /// ended one way or the other before this looks.
    pub async fn holds(&self, batch: &Batch) -> Result<bool, LogError> {
        let last = batch.head.position.cast_signed();
        let begin = self.client.batch_execute("BEGIN");
        let lock = self.client.query_one(&self.lock_head, &[]);
        let (begun, locked) = join(begin, lock).await;
        begun?;
        let head = head_of(&locked?)?;
        let found = self.client.query_opt(&self.hash_at, &[&last]).await?;
        self.release().await?;
        Ok(head.position >= batch.head.position && found.is_some_and(|row| row.get::<_, &[u8]>(0) == batch.head.hash.0))
    }

    /// The events after `head`, at most `limit`, checked against the chain; `head` moves on past them.
    pub async fn follow(&self, head: &mut Head, limit: u32) -> Result<Vec<Arc<Recorded>>, LogError> {
        let from = (head.position + 1).cast_signed();
        let rows = self.client.query_raw(&self.read_from, [from, i64::from(limit)]).await?;
        pin_mut!(rows);
        let mut events = Vec::new();
        while let Some(row) = rows.next().await {
            let recorded = follow(&row?, &mut head.hash, head.position + 1)?;
            head.position = recorded.position;
            events.push(Arc::new(recorded));
        }
        Ok(events)
    }
}
