//! What the control plane has in NATS. All of it is derived: the hints, the mirror of the log, the plans; and what comes in,
//! reports and leases, is turned into commands. Nothing here holds a fact that the log doesn't (wiped, it is refilled),
//! and any number of replicas may do it at the same time.

mod ask;
mod hint;
mod join;
mod leases;
mod mirror;
mod passwords;
mod plans;
mod reports;
mod secrets;
mod trouble;

pub use ask::{AskError, console};
pub use join::{JoinAsk, Joined, invite, join};
pub use leases::{LEASE_MILLIS, LOST_AFTER};
pub use mirror::{STREAM as EVENTS, published, subject_of};
pub use plans::STREAM as PLANS;

use crate::Conductor;
use futures_util::StreamExt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strata_events::HostName;
use tokio::sync::{Semaphore, watch};

/// The control plane's connection.
#[derive(Clone)]
pub struct Link {
    pub client: async_nats::Client,
    /// Counts the times that the connection came (back) up.
    pub(crate) connected: watch::Receiver<u64>,
}

/// How far what is derived has come, for `strata status`.
#[derive(Debug, Default)]
pub struct Progress {
    mirrored: AtomicU64,
    planned: AtomicU64,
}
impl Progress {
    /// The last position in EVENTS, as far as this replica knows.
    pub fn mirrored(&self) -> u64 {
        self.mirrored.load(Ordering::Relaxed)
    }
    /// The position that the plans reflect.
    pub fn planned(&self) -> u64 {
        self.planned.load(Ordering::Relaxed)
    }
}

/// Connects with the text of a `.creds` file. Returns at once when `url` makes sense; it is tried for ever, in the background,
/// and again when it breaks.
pub async fn connect(url: &str, credentials: &str) -> Result<Link, String> {
    let (counter, connected) = watch::channel(0);
    let counter = Arc::new(counter);
    let events = move |event: async_nats::Event| {
        match &event {
            async_nats::Event::Connected => counter.send_modify(|n| *n += 1),
            async_nats::Event::Disconnected => tracing::warn!("lost NATS; the log goes on without it"),
            async_nats::Event::ServerError(e) => tracing::error!(error = %e, "NATS refuses"),
            async_nats::Event::ClientError(e) => tracing::warn!(error = %e, "NATS client"),
            _ => {}
        }
        std::future::ready(())
    };
    let client = async_nats::ConnectOptions::with_credentials(credentials)
        .map_err(|e| format!("the NATS credentials can't be used: {e}"))?
        .name("strata-conductor")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| Duration::from_millis(20 << attempt.min(5)))
        .request_timeout(Some(Duration::from_secs(5)))
        .event_callback(events)
        .connect(url)
        .await
        .map_err(|e| format!("NATS at {url}: {e}"))?;
    Ok(Link { client, connected })
}

/// For every replica: tells the others what it commits, and hears what they do.
pub async fn hints(link: &Link, conductor: &Conductor) {
    tokio::join!(hint::tell(link, conductor), hint::hear(link, conductor));
}

/// For a replica that runs the conductor service: mirror, plans, reports, leases and secrets, for ever.
pub async fn conduct(link: &Link, conductor: &Conductor, progress: &Progress) {
    tokio::join!(
        mirror::run(link, conductor, progress),
        plans::run(link, conductor, progress),
        reports::run(link, conductor),
        leases::run(link, conductor),
        secrets::run(link, conductor),
        passwords::run(link, conductor),
    );
}

/// Answers what hosts ask on a subject, each question by one replica, so many at the same time; the others wait in NATS. The
/// host's name, from the subject that only its credentials let anyone publish on, comes with the question.
async fn answer<A: serde::Serialize + Send, F: Future<Output = A> + Send + 'static>(
    link: &Link,
    subject: &str,
    at_once: usize,
    work: impl Fn(HostName, bytes::Bytes) -> F,
) {
    let permits = Arc::new(Semaphore::new(at_once));
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        match link.client.queue_subscribe(subject.to_string(), "conductor".into()).await {
            Ok(mut messages) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let host = HostName::from(message.subject.split('.').nth(1).unwrap_or_default());
                    let (client, work) = (link.client.clone(), work(host, message.payload));
                    tokio::spawn(async move {
                        let answer = work.await;
                        if let Some(reply) = message.reply {
                            let body = serde_json::to_vec(&answer).unwrap_or_else(|e| unreachable!("plain data: {e}"));
                            // Lost, the host asks again.
                            let _ = client.publish(reply, body.into()).await;
                        }
                        drop(permit);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, subject, "can't listen to hosts"),
        }
        failures += 1;
        pause(failures, &mut connected).await;
    }
}

/// JetStream with a limit on how long an answer may take.
fn jetstream(link: &Link) -> async_nats::jetstream::Context {
    let mut js = async_nats::jetstream::new(link.client.clone());
    js.set_timeout(Duration::from_secs(5));
    js
}

/// How long to wait before trying again: from 20 ms, doubling, to 2 s, and never all at the same moment.
fn backoff(failures: u32) -> Duration {
    let most = (20u64 << failures.min(7)).min(2000);
    Duration::from_millis(most / 2 + RandomState::new().hash_one(0) % (most / 2))
}

/// Waits before the next try, or until the connection comes back.
async fn pause(failures: u32, connected: &mut watch::Receiver<u64>) {
    tokio::select! {
        () = tokio::time::sleep(backoff(failures)) => {}
        _ = connected.changed() => {}
    }
}
