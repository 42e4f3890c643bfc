//! What is secret or large and stands in the log only by reference. What comes in here is encrypted already.

use crate::{Log, LogError};
use strata_events::SecretId;

/// The secrets' table.
pub struct Secrets<'a>(&'a Log);

impl Log {
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets(self)
    }
}

impl Secrets<'_> {
    /// Keeps a ciphertext under a new id. Keeping the same again changes nothing.
    pub async fn put(&self, id: SecretId, ciphertext: &[u8]) -> Result<(), LogError> {
        let client = self.0.client().await?;
        client.execute("INSERT INTO strata.secrets (id, ciphertext) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[&id.0, &ciphertext]).await?;
        Ok(())
    }
    pub async fn get(&self, id: SecretId) -> Result<Option<Vec<u8>>, LogError> {
        let client = self.0.client().await?;
        let row = client.query_opt("SELECT ciphertext FROM strata.secrets WHERE id = $1", &[&id.0]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
    /// Forgets a secret, once nothing refers to it.
    pub async fn remove(&self, id: SecretId) -> Result<(), LogError> {
        let client = self.0.client().await?;
        client.execute("DELETE FROM strata.secrets WHERE id = $1", &[&id.0]).await?;
        Ok(())
    }
}
