//! What compute keeps beside the log: user data, sealed before anything is committed that names it (invariant 12).

use crate::frame::app::{ApiConfig, StartError};
use crate::frame::{Ctx, Fault};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fernet::Fernet;
use sha2::{Digest, Sha256};
use strata_events::{InstanceId, SecretId};
use strata_writer::Conductor;

/// Keys for what must not stand in the log in clear text.
pub struct Compute {
    /// Seals with the primary.
    seal: Fernet,
    passwords: Vec<u8>,
}

impl Compute {
    pub async fn open(conductor: &Conductor, _config: &ApiConfig) -> Result<Self, StartError> {
        let failed = |why: String| StartError { what: "the keys that seal user data", why };
        let new = || Fernet::generate_key().into_bytes();
        let keys = conductor.log().keys("secrets").ensure(&new(), &new()).await.map_err(|e| failed(e.to_string()))?;
        let primary = keys.first().and_then(|k| std::str::from_utf8(&k.key).ok()).and_then(Fernet::new);
        let seal = primary.ok_or_else(|| failed("the primary key of the repository `secrets` is not a Fernet key".into()))?;
        let passwords = conductor.log().keys("server_passwords").ensure(&new(), &new()).await.map_err(|e| failed(e.to_string()))?;
        // The first key for ever: a password is made again from it whenever the server's host needs it.
        let first =
            passwords.into_iter().find(|k| k.number == 1).ok_or_else(|| failed("the repository `server_passwords` is empty".into()))?;
        Ok(Self { seal, passwords: first.key })
    }

    /// Seals a text and keeps it under a new id, durably, before anything is committed that names it.
    pub async fn keep(&self, ctx: &Ctx, text: &str) -> Result<SecretId, Fault> {
        let id = SecretId(crate::frame::new_uuid());
        let sealed = self.seal.encrypt(text.as_bytes());
        ctx.app.conductor.log().secrets().put(id, sealed.as_bytes()).await.map_err(|e| {
            tracing::error!("user data could not be kept: {e}");
            Fault::busy("The user data could not be stored at the moment; nothing was changed. Try again.")
        })?;
        Ok(id)
    }

    /// Forgets a text that nothing names after all. One that stays by mistake is sealed, and harms nobody.
    pub async fn forget(&self, ctx: &Ctx, id: SecretId) {
        if let Err(e) = ctx.app.conductor.log().secrets().remove(id).await {
            tracing::warn!(%id, "user data of a refused server could not be forgotten: {e}");
        }
    }

    /// The administrator's password of a server whose owner gave none: made from its id, so that it is stored nowhere.
    pub fn password(&self, id: &InstanceId) -> String {
        let inner = Sha256::new().chain_update(&self.passwords).chain_update(id.0.as_bytes()).finalize();
        let outer = Sha256::new().chain_update(&self.passwords).chain_update(inner).finalize();
        URL_SAFE_NO_PAD.encode(outer).chars().filter(|c| c.is_ascii_alphanumeric()).take(12).collect()
    }
}
