//! The envelope: what the log records around each event. The hash chains every event to the one before it, so that
//! nothing can be changed or removed unseen (invariant 1).

use crate::{Event, HostName, ProjectId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Which sequence of events an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub kind: String,
    pub id: String,
}
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// Who caused an event, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person or program with a token.
    User {
        user: UserId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<ProjectId>,
        /// The peer's address.
        from: String,
    },
    /// A host's worker, by report.
    Host { host: HostName },
    /// A part of Strata itself: `scheduler`, `conductor`, `bootstrap`, `cli`.
    Service { name: String },
}
impl Actor {
    pub fn service(name: &str) -> Self {
        Actor::Service { name: name.into() }
    }
}

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Gapless from 1, in commit order.
    pub position: u64,
    /// Gapless from 1 within its stream.
    pub version: u32,
    pub recorded_at: Timestamp,
    pub actor: Actor,
    /// The request that began it all, as returned in `X-Openstack-Request-Id`: `req-<uuid>`.
    pub request_id: String,
    /// The position of the event that this one follows from.
    pub caused_by: Option<u64>,
    pub event: Event,
}

/// The parts of a log row that the chain covers, as stored.
pub struct Chained<'a> {
    pub position: u64,
    pub kind: &'a str,
    pub id: &'a str,
    pub version: u32,
    pub recorded_at: Timestamp,
    pub actor: &'a str,
    pub request_id: &'a str,
    pub caused_by: Option<u64>,
    pub type_name: &'a str,
    pub schema_version: u16,
    pub body: &'a str,
}

impl Hash {
    /// The hash of a row that follows one whose hash was `self`. Each text is preceded by its length, so no two rows
    /// give the same bytes.
    pub fn chain(&self, row: &Chained<'_>) -> Hash {
        let mut sha = Sha256::new();
        sha.update(self.0);
        sha.update(row.position.to_be_bytes());
        sha.update(row.version.to_be_bytes());
        sha.update(row.recorded_at.0.to_be_bytes());
        sha.update(row.caused_by.unwrap_or(0).to_be_bytes());
        sha.update(row.schema_version.to_be_bytes());
        for text in [row.kind, row.id, row.actor, row.request_id, row.type_name, row.body] {
            sha.update((text.len() as u64).to_be_bytes());
            sha.update(text.as_bytes());
        }
        Hash(sha.finalize().into())
    }
}
