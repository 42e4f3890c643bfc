//! Opened tokens, kept so that a token that is used again costs a look-up. Bounded: two generations a shard, the older of
//! which is dropped when the younger is full. What is kept is only what was sealed, and per position of the log what it was
//! worth then: a cache can't outlive a revocation.

use super::Token;
use crate::frame::Caller;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 16;
/// Tokens in one generation of one shard: at most 32,768 in all.
const GENERATION: usize = 1024;

/// An opened token with what was found about it at one position.
pub struct Entry {
    pub token: Token,
    /// The position, the caller as confirmed there.
    confirmed: Mutex<Option<(u64, Arc<Caller>)>>,
    /// The position, the base address, the rendered body.
    rendered: Mutex<Option<(u64, String, bytes::Bytes)>>,
}

impl Entry {
    pub fn new(token: Token) -> Self {
        Self { token, confirmed: Mutex::new(None), rendered: Mutex::new(None) }
    }
    pub fn confirmed(&self, position: u64) -> Option<Arc<Caller>> {
        let found = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().filter(|(p, _)| *p == position).map(|(_, c)| c.clone())
    }
    pub fn confirm(&self, position: u64, caller: Arc<Caller>) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some((position, caller));
    }
    pub fn rendered(&self, position: u64, base: &str) -> Option<bytes::Bytes> {
        let found = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().filter(|(p, b, _)| *p == position && b == base).map(|(_, _, body)| body.clone())
    }
    pub fn render(&self, position: u64, base: &str, body: bytes::Bytes) {
        *self.rendered.lock().unwrap_or_else(PoisonError::into_inner) = Some((position, base.to_owned(), body));
    }
}

#[derive(Default)]
struct Shard {
    young: HashMap<Box<str>, Arc<Entry>>,
    old: HashMap<Box<str>, Arc<Entry>>,
}

/// Opened tokens by their text.
pub struct Cache {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Cache {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Cache {
    fn shard(&self, text: &str) -> std::sync::MutexGuard<'_, Shard> {
        let n = usize::try_from(self.hasher.hash_one(text) % SHARDS as u64).unwrap_or(0);
        self.shards[n].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The opened token, opening it if it isn't known.
    pub fn get(&self, text: &str, open: impl FnOnce() -> Option<Token>) -> Option<Arc<Entry>> {
        {
            let mut shard = self.shard(text);
            if let Some(entry) = shard.young.get(text) {
                return Some(entry.clone());
            }
            if let Some((text, entry)) = shard.old.remove_entry(text) {
                shard.keep(text, entry.clone());
                return Some(entry);
            }
        }
        let entry = Arc::new(Entry::new(open()?));
        self.shard(text).keep(text.into(), entry.clone());
        Some(entry)
    }
}

impl Shard {
    fn keep(&mut self, text: Box<str>, entry: Arc<Entry>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditId, Place};
    use super::*;
    use strata_events::{Timestamp, UserId};

    #[test]
    fn it_stays_bounded() {
        let cache = Cache::default();
        let token = Token {
            user: UserId(uuid::Uuid::nil()),
            place: Place::Unscoped,
            methods: 1,
            issued_at: Timestamp(0),
            expires_at: Timestamp(0),
            position: 0,
            audit: AuditId([0; 16]),
            chain: None,
            application_credential: None,
            trust: None,
        };
        for i in 0..100_000 {
            cache.get(&i.to_string(), || Some(token.clone()));
        }
        let of = |s: &Mutex<Shard>| {
            let shard = s.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        let kept: usize = cache.shards.iter().map(of).sum();
        assert!(kept <= 2 * SHARDS * GENERATION, "{kept}");
        assert!(cache.get("99999", || panic!("it was not kept")).is_some());
    }
}
