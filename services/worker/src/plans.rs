//! The host's plan, as a stream of changes. A named consumer with the host's filter delivers the latest value of each key and
//! then each change; its pull request stands, so a change arrives without asking. Whenever anything is doubtful (the
//! connection came back, a heartbeat is missing, the store was wiped) the consumer is made anew and delivers everything again.

use crate::link::{Link, backoff, jitter};
use crate::{Role, WorkerOptions};
use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use std::time::Duration;
use strata_projections::plan::{Key, Plan};
use tokio::sync::mpsc;

/// The bucket's stream, and the prefix of its subjects.
const STREAM: &str = "KV_PLANS";
const PREFIX: &str = "$KV.PLANS.";

/// A key's new value.
pub(crate) struct Change {
    pub key: Key,
    pub plan: Plan,
}

/// Feeds `out` for ever.
pub(crate) async fn follow(link: &Link, options: &WorkerOptions, out: mpsc::Sender<Change>) {
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        connected.borrow_and_update();
        match session(link, options, &out, &mut connected).await {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                tracing::debug!(host = %link.host, %why, "the plan can't be followed; tries again");
                tokio::select! {
                    () = tokio::time::sleep(backoff(failures)) => {}
                    _ = connected.changed() => {}
                }
            }
        }
        if out.is_closed() {
            return;
        }
    }
}

/// One consumer's life. Ok: time for a new one.
async fn session(
    link: &Link,
    options: &WorkerOptions,
    out: &mpsc::Sender<Change>,
    connected: &mut tokio::sync::watch::Receiver<u64>,
) -> Result<(), String> {
    let host = &link.host;
    let mut js = jetstream::new(link.client.clone());
    js.set_timeout(Duration::from_secs(2));
    let stream = js.get_stream_no_info(STREAM).await.map_err(|e| e.to_string())?;
    let name = strata_credentials::consumer(host, link.role.as_str());
    // One from before would go on where it was; a new one begins with the whole plan. There may be none.
    let _ = stream.delete_consumer(&name).await;
    let config = consumer::pull::Config {
        name: Some(name),
        filter_subject: match link.role {
            Role::Compute => format!("{PREFIX}{host}.{}.>", strata_projections::plan::instance::KIND),
            // The network worker serves metadata too: it must know the instances.
            Role::Network | Role::All => format!("{PREFIX}{host}.>"),
        },
        deliver_policy: consumer::DeliverPolicy::LastPerSubject,
        ack_policy: consumer::AckPolicy::None,
        inactive_threshold: Duration::from_secs(120),
        memory_storage: true,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|e| e.to_string())?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(256)
        .heartbeat(Duration::from_secs(15))
        .expires(Duration::from_secs(60))
        .messages()
        .await
        .map_err(|e| e.to_string())?;
    let again = tokio::time::sleep(options.resync + Duration::from_millis(jitter(options.resync.as_millis() as u64 / 4)));
    tokio::pin!(again);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                None => return Ok(()),
                Some(Err(e)) => return Err(e.to_string()),
                Some(Ok(message)) => {
                    let Some(key) = message.subject.strip_prefix(PREFIX) else { continue };
                    if message.payload.is_empty() {
                        continue; // a deleted key means nothing: what shall go is planned as absent
                    }
                    match serde_json::from_slice::<Plan>(&message.payload) {
                        Ok(plan) => {
                            if out.send(Change { key: Key(key.into()), plan }).await.is_err() {
                                return Ok(());
                            }
                        }
                        // Of a newer control plane: leave the thing as it is rather than guess.
                        Err(e) => tracing::error!(%host, key, error = %e, "a plan can't be read; upgrade this worker"),
                    }
                }
            },
            _ = connected.changed() => return Ok(()),
            () = &mut again => return Ok(()),
        }
    }
}
