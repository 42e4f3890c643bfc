//! Revoked tokens. A token is sealed, not stored: only its end before its time is known here, and only until it would have
//! expired anyway, so that the list stays as short as the tokens' life.

use super::{CannotApply, Cloud, Stamp};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use strata_events::token::TokenEvent;
use strata_events::{Stream, Timestamp};

/// The revoked tokens that have not expired yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    revoked: OrdMap<String, Timestamp>,
    by_expiry: OrdSet<(Timestamp, String)>,
}

impl Tokens {
    pub fn is_revoked(&self, audit_id: &str) -> bool {
        self.revoked.contains_key(audit_id)
    }
    /// Audit id and expiry of each.
    pub fn revoked(&self) -> impl Iterator<Item = (&String, &Timestamp)> {
        self.revoked.iter()
    }
    pub fn len(&self) -> usize {
        self.revoked.len()
    }
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &TokenEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let TokenEvent::TokenRevoked { id, expires_at } = event;
    if cloud.tokens.revoked.insert(id.clone(), *expires_at).is_some() {
        return Err(CannotApply::because("the token was revoked already"));
    }
    cloud.tokens.by_expiry.insert((*expires_at, id.clone()));
    while let Some((expired, id)) = cloud.tokens.by_expiry.get_min().cloned() {
        if expired >= stamp.at {
            break;
        }
        cloud.tokens.by_expiry.remove(&(expired, id.clone()));
        cloud.tokens.revoked.remove(&id);
        cloud.versions.remove(&super::stream_key(&Stream { kind: TokenEvent::KIND.into(), id }));
    }
    Ok(())
}
