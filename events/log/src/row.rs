//! A row of the log: as stored (`Raw`), and decoded (`Recorded`).

use crate::LogError;
use crate::head::hash_of;
use bytes::BytesMut;
use std::error::Error;
use strata_events::{Actor, Chained, Event, Hash, Recorded, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A row as stored: for the mirror and for tools, which pass the text on.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    pub position: u64,
    pub kind: String,
    pub id: String,
    pub version: u32,
    pub recorded_at: Timestamp,
    /// JSON
    pub actor: String,
    pub request_id: String,
    pub caused_by: Option<u64>,
    pub type_name: String,
    pub schema_version: u16,
    /// JSON
    pub body: String,
    pub hash: Hash,
}

impl Raw {
    pub fn decode(&self) -> Result<Recorded, LogError> {
        decode(&self.chained(), self.position)
    }
    /// What the hash covers.
    pub fn chained(&self) -> Chained<'_> {
        Chained {
            position: self.position,
            kind: &self.kind,
            id: &self.id,
            version: self.version,
            recorded_at: self.recorded_at,
            actor: &self.actor,
            request_id: &self.request_id,
            caused_by: self.caused_by,
            type_name: &self.type_name,
            schema_version: self.schema_version,
            body: &self.body,
        }
    }
    pub(crate) fn from_row(row: &Row) -> Result<Raw, LogError> {
        let (c, hash) = chained(row)?;
        Ok(Raw {
            position: c.position,
            kind: c.kind.into(),
            id: c.id.into(),
            version: c.version,
            recorded_at: c.recorded_at,
            actor: c.actor.into(),
            request_id: c.request_id.into(),
            caused_by: c.caused_by,
            type_name: c.type_name.into(),
            schema_version: c.schema_version,
            body: c.body.into(),
            hash,
        })
    }
}

/// Borrows a row's columns, in the order of schema/queries/read_from.sql.
pub(crate) fn chained(row: &Row) -> Result<(Chained<'_>, Hash), LogError> {
    let chained = Chained {
        position: row.try_get::<_, i64>(0)?.unsigned_abs(),
        kind: row.try_get(1)?,
        id: row.try_get(2)?,
        version: row.try_get::<_, i32>(3)?.unsigned_abs(),
        recorded_at: row.try_get::<_, Micros>(4)?.0,
        actor: row.try_get(5)?,
        request_id: row.try_get(6)?,
        caused_by: row.try_get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
        type_name: row.try_get(8)?,
        schema_version: row.try_get::<_, i16>(9)?.unsigned_abs(),
        body: row.try_get(10)?,
    };
    Ok((chained, hash_of(row, 11)?))
}

/// Reads an event; its stream must be the one that its body names.
pub(crate) fn decode(c: &Chained<'_>, position: u64) -> Result<Recorded, LogError> {
    let event = Event::decode(c.kind, c.type_name, c.schema_version, c.body).map_err(|source| LogError::Decode { position, source })?;
    let actor: Actor =
        serde_json::from_str(c.actor).map_err(|e| LogError::Chain { position, why: format!("its actor can't be read: {e}") })?;
    Ok(Recorded {
        position,
        version: c.version,
        recorded_at: c.recorded_at,
        actor,
        request_id: c.request_id.into(),
        caused_by: c.caused_by,
        event,
    })
}

/// Checks a row against the one before it and decodes it. `previous` moves on.
pub(crate) fn follow(row: &Row, previous: &mut Hash, expected: u64) -> Result<Recorded, LogError> {
    let (c, hash) = chained(row)?;
    if c.position != expected {
        return Err(LogError::Chain { position: c.position, why: format!("position {expected} is missing before it") });
    }
    if previous.chain(&c) != hash {
        return Err(LogError::Chain { position: c.position, why: "its hash does not follow from the event before it".into() });
    }
    *previous = hash;
    decode(&c, c.position)
}

/// A timestamptz in its own binary form: microseconds since 2000.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Micros(pub Timestamp);
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl ToSql for Micros {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.0.saturating_sub(POSTGRES_EPOCH).to_sql(ty, out)
    }
    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}
impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Micros(Timestamp(i64::from_sql(&Type::INT8, raw)?.saturating_add(POSTGRES_EPOCH))))
    }
    accepts!(TIMESTAMPTZ);
}
