//! The connection to NATS under the host's own credentials. It is tried again for ever: a worker outlives the control plane.

use crate::{Identity, Role, WorkerError};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use strata_events::HostName;
use tokio::sync::watch;

/// See the module.
pub(crate) struct Link {
    pub host: HostName,
    pub role: Role,
    pub client: async_nats::Client,
    /// Counts the times that the connection came (back) up.
    pub connected: watch::Receiver<u64>,
}

pub(crate) async fn connect(identity: &Identity, role: Role) -> Result<Link, WorkerError> {
    let key = Arc::new(nkeys::KeyPair::from_seed(identity.seed.trim()).map_err(WorkerError::BadKey)?);
    let sign = move |nonce: Vec<u8>| {
        let key = key.clone();
        async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
    };
    let (counter, connected) = watch::channel(0);
    let counter = Arc::new(counter);
    let host = identity.host.clone();
    let events = {
        let host = host.clone();
        move |event: async_nats::Event| {
            match &event {
                async_nats::Event::Connected => counter.send_modify(|n| *n += 1),
                async_nats::Event::Disconnected => tracing::warn!(%host, "lost NATS; what runs goes on, nothing new starts"),
                // A refused subject shows only here and as a time-out at the caller.
                async_nats::Event::ServerError(e) => tracing::error!(%host, error = %e, "NATS refuses"),
                async_nats::Event::ClientError(e) => tracing::warn!(%host, error = %e, "NATS client"),
                _ => {}
            }
            std::future::ready(())
        }
    };
    let client = async_nats::ConnectOptions::with_jwt(identity.jwt.clone(), sign)
        .name(format!("strata-worker {host} {role}"))
        .custom_inbox_prefix(strata_credentials::inbox(&host))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .request_timeout(Some(Duration::from_secs(3)))
        // A worker hears little, and a thousand simulated ones share a process.
        .read_buffer_capacity(8192)
        .event_callback(events)
        .connect(&identity.nats_url)
        .await
        .map_err(|source| WorkerError::Connect { url: identity.nats_url.clone(), source })?;
    Ok(Link { host, role, client, connected })
}

/// Grows to a second, and differs between hosts, so that they don't come back all at once.
fn reconnect_delay(attempt: usize) -> Duration {
    let most = 25u64 << attempt.min(5);
    Duration::from_millis(most + jitter(most))
}

/// Something below `most`.
pub(crate) fn jitter(most: u64) -> u64 {
    RandomState::new().hash_one(0) % most.max(1)
}

/// How long to wait before trying again: from 50 ms, doubling, to 2 s.
pub(crate) fn backoff(failures: u32) -> Duration {
    let most = (50u64 << failures.min(7)).min(2000);
    Duration::from_millis(most / 2 + jitter(most / 2))
}
