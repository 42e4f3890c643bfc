//! Removes secrets that nothing names any more: user data of deleted servers, blobs of deleted users' credentials, and what a
//! request kept for a command that was then refused.
//!
//! **Invariant: a secret that something live names is never removed.** A secret is kept before the event that names it, so the
//! young ones are left alone; of the others the ids are read first and then the state, which is at least as new.

use crate::handle::Conductor;
use std::time::Duration;
use strata_events::SecretId;

/// No request takes so long between keeping a secret and committing what names it.
const AGE: Duration = Duration::from_secs(3600);
/// How often some are looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How many are looked at together.
const AT_ONCE: u32 = 5_000;

impl Conductor {
    /// Removes what nothing names, for ever: run by the conductor service. Several replicas do each other no harm.
    pub async fn sweep_secrets(&self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut after = SecretId(uuid::Uuid::nil());
        loop {
            tick.tick().await;
            match self.sweep_some_secrets(after, AGE, AT_ONCE).await {
                Ok(next) => after = next,
                Err(why) => tracing::warn!(why, "secrets that nothing names stay for now"),
            }
        }
    }

    /// Looks at so many secrets after this one that are older than `age`; gives the one after which to go on. After the last
    /// comes the first again.
    pub async fn sweep_some_secrets(&self, after: SecretId, age: Duration, at_once: u32) -> Result<SecretId, String> {
        let secrets = self.log().secrets();
        let old = secrets.older(after, age, at_once).await.map_err(|e| e.to_string())?;
        let Some(last) = old.last().copied() else { return Ok(SecretId(uuid::Uuid::nil())) };
        let cloud = self.cloud().await.map_err(|e| e.to_string())?;
        let unused = tokio::task::spawn_blocking(move || {
            let used = cloud.secrets();
            old.into_iter().filter(|id| !used.contains(id)).collect::<Vec<_>>()
        });
        let unused = unused.await.map_err(|e| e.to_string())?;
        if !unused.is_empty() {
            let removed = secrets.remove_all(&unused).await.map_err(|e| e.to_string())?;
            tracing::info!(removed, "secrets that nothing named are gone");
        }
        Ok(last)
    }
}
