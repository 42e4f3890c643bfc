//! Key repositories, as Keystone has them: the highest number is the primary, which signs; 0 is staged, the next primary,
//! known to every replica before anything is signed with it; all of them verify.

use crate::{Log, LogError};

/// One key of a repository.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub number: u32,
    pub key: Vec<u8>,
}
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}", self.number)
    }
}

/// A repository of keys by name: `fernet`, `secrets`, ….
pub struct Keys<'a> {
    log: &'a Log,
    repository: &'a str,
}

impl Log {
    pub fn keys<'a>(&'a self, repository: &'a str) -> Keys<'a> {
        Keys { log: self, repository }
    }
}

impl Keys<'_> {
    /// The keys, the primary first and the staged last.
    pub async fn all(&self) -> Result<Vec<Key>, LogError> {
        let client = self.log.client().await?;
        let rows =
            client.query("SELECT number, key FROM strata.keys WHERE repository = $1 ORDER BY number DESC", &[&self.repository]).await?;
        rows.iter().map(|row| Ok(Key { number: row.try_get::<_, i32>(0)?.unsigned_abs(), key: row.try_get(1)? })).collect()
    }

    /// Makes the repository if it is empty, and returns what is there: when several replicas start at once, all get the
    /// same keys.
    pub async fn ensure(&self, primary: &[u8], staged: &[u8]) -> Result<Vec<Key>, LogError> {
        let mut client = self.log.client().await?;
        let transaction = client.transaction().await?;
        transaction.execute("LOCK TABLE strata.keys IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
        transaction
            .execute(
                "INSERT INTO strata.keys (repository, number, key) SELECT $1, n, k FROM (VALUES (1, $2::bytea), (0, $3::bytea)) v (n, k) \
                 WHERE NOT EXISTS (SELECT FROM strata.keys WHERE repository = $1)",
                &[&self.repository, &primary, &staged],
            )
            .await?;
        transaction.commit().await?;
        drop(client);
        self.all().await
    }

    /// The staged key becomes the primary, `staged` the next; of the older ones only so many stay that `max_active` are
    /// there in all.
    pub async fn rotate(&self, staged: &[u8], max_active: u32) -> Result<Vec<Key>, LogError> {
        let mut client = self.log.client().await?;
        let transaction = client.transaction().await?;
        transaction.execute("LOCK TABLE strata.keys IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
        transaction
            .execute(
                "UPDATE strata.keys SET number = (SELECT max(number) + 1 FROM strata.keys WHERE repository = $1) \
                 WHERE repository = $1 AND number = 0",
                &[&self.repository],
            )
            .await?;
        transaction.execute("INSERT INTO strata.keys (repository, number, key) VALUES ($1, 0, $2)", &[&self.repository, &staged]).await?;
        transaction
            .execute(
                "DELETE FROM strata.keys WHERE repository = $1 AND number > 0 AND number NOT IN \
                 (SELECT number FROM strata.keys WHERE repository = $1 ORDER BY number DESC LIMIT $2)",
                &[&self.repository, &i64::from(max_active.saturating_sub(1).max(1))],
            )
            .await?;
        transaction.commit().await?;
        drop(client);
        self.all().await
    }
}
