//! The keys that seal tokens, as the log's key repository has them. The staged key opens tokens before any replica seals with
//! it, so that a rotation is never noticed: replicas re-read the repository once a minute.

use super::Token;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use fernet::{Fernet, MultiFernet};
use std::sync::Arc;
use std::time::Duration;
use strata_log::Key;
use strata_writer::Conductor;

/// The repository's name.
const REPOSITORY: &str = "fernet";
/// Staged, primary and one that still opens tokens (Keystone's max_active_keys).
const MAX_ACTIVE: u32 = 3;
/// No token is longer; anything longer is no token.
const MAX_LENGTH: usize = 512;

/// Seals and opens tokens.
pub struct Keyring {
    ring: ArcSwap<MultiFernet>,
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the token keys can't be read from the log's database: {0}")]
    Log(#[from] strata_log::LogError),
    #[error("a stored token key is not 32 bytes long; rotate the keys with `strata keys rotate fernet`")]
    Malformed,
}

impl Keyring {
    /// Reads the keys, making them on a new cloud.
    pub async fn open(conductor: &Conductor) -> Result<Self, KeysError> {
        let keys = conductor.log().keys(REPOSITORY).ensure(&random_key(), &random_key()).await?;
        Ok(Self { ring: ArcSwap::from_pointee(ring(&keys)?) })
    }
    /// Follows rotations by others until the API is gone.
    pub fn follow(self: &Arc<Self>, conductor: Conductor) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(60)).await;
                let Some(this) = weak.upgrade() else { return };
                let read = conductor.log().keys(REPOSITORY).all().await.map_err(KeysError::from).and_then(|keys| ring(&keys));
                match read {
                    Ok(ring) => this.ring.store(Arc::new(ring)),
                    Err(e) => tracing::warn!("the token keys could not be read again, the known ones stay in use: {e}"),
                }
            }
        });
    }
    pub fn seal(&self, token: &Token) -> String {
        // Padding carries no meaning here and is awkward in headers and logs.
        self.ring.load().encrypt(&token.to_bytes()).trim_end_matches('=').to_owned()
    }
    /// None: not sealed by us, or not readable by this version.
    pub fn open_token(&self, text: &str) -> Option<Token> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return None;
        }
        let padded = match text.len() % 4 {
            0 => text.to_owned(),
            n => format!("{text}{}", "=".repeat(4 - n)),
        };
        Token::from_bytes(&self.ring.load().decrypt(&padded).ok()?)
    }
}

/// Makes the staged key the primary, and stages a new one (`strata keys rotate`).
pub async fn rotate(log: &strata_log::Log) -> Result<usize, strata_log::LogError> {
    log.keys(REPOSITORY).rotate(&random_key(), MAX_ACTIVE).await.map(|keys| keys.len())
}

pub(crate) fn ring(keys: &[Key]) -> Result<MultiFernet, KeysError> {
    // The staged key is the last: it opens, and never seals.
    let keys: Vec<Fernet> =
        keys.iter().map(|k| Fernet::new(&URL_SAFE.encode(&k.key)).ok_or(KeysError::Malformed)).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeysError::Malformed) } else { Ok(MultiFernet::new(keys)) }
}

pub(crate) fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    // The kernel's generator fails only before it is seeded, in early boot; no key may be made then.
    getrandom::fill(&mut key).unwrap_or_else(|e| panic!("no random bytes from the kernel: {e}"));
    key
}
