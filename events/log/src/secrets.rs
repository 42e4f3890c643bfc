//! What is secret or large and stands in the log only by reference. What comes in here is encrypted already.

use crate::{Log, LogError};
use std::time::Duration;
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
    /// The ids after this one, in their order, of secrets that were kept longer ago than `age`.
    pub async fn older(&self, after: SecretId, age: Duration, limit: u32) -> Result<Vec<SecretId>, LogError> {
        let client = self.0.client().await?;
        let rows = client
            .query(
                "SELECT id FROM strata.secrets WHERE id > $1 AND created_at < now() - make_interval(secs => $2) ORDER BY id LIMIT $3",
                &[&after.0, &age.as_secs_f64(), &i64::from(limit)],
            )
            .await?;
        rows.iter().map(|row| Ok(SecretId(row.try_get(0)?))).collect()
    }
    /// Forgets several secrets, once nothing refers to them; tells how many there were.
    pub async fn remove_all(&self, ids: &[SecretId]) -> Result<u64, LogError> {
        let client = self.0.client().await?;
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
        Ok(client.execute("DELETE FROM strata.secrets WHERE id = ANY($1)", &[&ids]).await?)
    }
    /// Forgets a secret, once nothing refers to it.
    pub async fn remove(&self, id: SecretId) -> Result<(), LogError> {
        let client = self.0.client().await?;
        client.execute("DELETE FROM strata.secrets WHERE id = $1", &[&id.0]).await?;
        Ok(())
    }
}
