//! PLANS: what each host should have, as values in a key-value bucket, kept equal to the projection of `Cloud`.
//!
//! - What an event may have changed is compared with what is published, and only what differs is written.
//! - A key is written on the condition that its last version is the one known here: a replica that is behind finds that
//!   another was faster, and leaves the newer position alone. A key is removed by the sequence of the version known here.
//! - The bucket is read at the start and whenever anything is doubtful (the connection came back, the store was wiped,
//!   another replica interfered); then everything is compared.

use super::trouble::{Store, Trouble};
use super::{Link, Progress, jetstream, pause};
use crate::Conductor;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::jetstream::{self, ErrorCode, consumer, stream};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use strata_projections::Cloud;
use strata_projections::plan::{self, Item, Key};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// The bucket's stream.
pub const STREAM: &str = "KV_PLANS";
const PREFIX: &str = "$KV.PLANS.";
/// How many writes may be under way.
const IN_FLIGHT: usize = 256;
/// How long the server may take to hand out the next of the stored plans.
const READING: Duration = Duration::from_secs(10);
/// How often everything is compared, at most. On a large cloud it is a small part of the time.
const RECONCILE: Duration = Duration::from_secs(10);

/// A version of a key in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    sequence: u64,
    /// Of the item's text: only ever compared with others of this process.
    hash: u64,
}

/// A stored value, with its item unread.
#[derive(Deserialize)]
struct Stored<'a> {
    position: u64,
    #[serde(borrow)]
    item: &'a RawValue,
}

struct Plans {
    js: jetstream::Context,
    stream: stream::Stream,
    created: String,
    hasher: RandomState,
    known: HashMap<Key, Version>,
    /// Something did not go as it should: compare everything soon.
    doubt: bool,
}

pub(super) async fn run(link: &Link, conductor: &Conductor, progress: &Progress) {
    let mut connected = link.connected.clone();
    let (mut failures, mut store) = (0, Store::default());
    loop {
        connected.borrow_and_update();
        if let Err(trouble) = session(link, conductor, progress, &mut connected, &mut failures).await {
            let why = store.suffered(link, STREAM, trouble).await;
            failures += 1;
            tracing::debug!(why, failures, "the plans begin again");
            pause(failures, &mut connected).await;
        }
    }
}

async fn session(
    link: &Link,
    conductor: &Conductor,
    progress: &Progress,
    connected: &mut tokio::sync::watch::Receiver<u64>,
    failures: &mut u32,
) -> Result<(), Trouble> {
    let mut applied = conductor.applied();
    let mut plans = Plans::open(jetstream(link)).await?;
    let mut begun = Instant::now();
    // Linearizable: a replica that just started must not take away what others published for events that it has not seen.
    let mut compared = plans.reconcile(&*conductor.cloud().await.map_err(|e| e.to_string())?).await?;
    progress.planned.store(compared, Ordering::Relaxed);
    let mut pace = RECONCILE.max(begun.elapsed() * 50);
    *failures = 0;
    loop {
        tokio::select! {
            step = applied.recv() => {
                let mut keys = BTreeSet::new();
                let mut latest = match step {
                    Ok(step) if step.after.position <= compared => continue,
                    Ok(step) => {
                        touched(&step, &mut keys);
                        step.after
                    }
                    Err(RecvError::Lagged(_)) => {
                        compared = plans.reconcile(&conductor.latest()).await?;
                        continue;
                    }
                    Err(RecvError::Closed) => return Ok(()),
                };
                loop {
                    match applied.try_recv() {
                        Ok(step) => {
                            touched(&step, &mut keys);
                            latest = step.after;
                        }
                        Err(TryRecvError::Lagged(_)) => plans.doubt = true,
                        Err(_) => break,
                    }
                }
                plans.publish(keys, &latest).await?;
                progress.planned.store(latest.position, Ordering::Relaxed);
            }
            _ = connected.changed() => return Ok(()),
            () = tokio::time::sleep_until((begun + pace).into()) => {
                begun = Instant::now();
                let cloud = conductor.latest();
                if !plans.is_sound(cloud.position == compared).await? {
                    return Ok(());
                }
                if cloud.position != compared || plans.doubt {
                    compared = plans.reconcile(&cloud).await?;
                    progress.planned.store(compared, Ordering::Relaxed);
                    pace = RECONCILE.max(begun.elapsed() * 50);
                }
            }
        }
    }
}

fn touched(step: &crate::Applied, keys: &mut BTreeSet<Key>) {
    for recorded in step.events.iter() {
        keys.extend(plan::touched(&step.before, &step.after, &recorded.event));
    }
}

impl Plans {
    /// Makes sure that the bucket is there, and reads it.
    async fn open(js: jetstream::Context) -> Result<Self, Trouble> {
        let stream = match js.get_stream(STREAM).await {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND) => {
                // By hand: the client's own way asks for more than an older server answers.
                let config = stream::Config {
                    name: STREAM.into(),
                    description: Some("Strata: what each host should have, key <host>.<kind>.<id>".into()),
                    subjects: vec![format!("{PREFIX}>")],
                    max_messages_per_subject: 1,
                    discard: stream::DiscardPolicy::New,
                    allow_rollup: true,
                    allow_direct: true,
                    storage: stream::StorageType::File,
                    duplicate_window: Duration::from_secs(1),
                    ..Default::default()
                };
                js.create_stream(config).await.map_err(|e| e.to_string())?
            }
            Err(e) => return Err(e.to_string().into()),
        };
        let created = stream.cached_info().created.to_string();
        let mut plans = Plans { js, stream, created, hasher: RandomState::new(), known: HashMap::new(), doubt: false };
        plans.read().await?;
        Ok(plans)
    }

    fn hash(&self, item: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(item.as_bytes());
        hasher.finish()
    }

    /// The latest version of every key.
    async fn read(&mut self) -> Result<(), Trouble> {
        let config = consumer::pull::Config {
            filter_subject: format!("{PREFIX}>"),
            deliver_policy: consumer::DeliverPolicy::LastPerSubject,
            ack_policy: consumer::AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(|e| e.to_string())?;
        let mut left = consumer.cached_info().num_pending;
        if left > 0 {
            let builder = consumer.stream().max_messages_per_batch(1000).heartbeat(Duration::from_secs(5)).expires(Duration::from_secs(30));
            let mut messages = builder.messages().await.map_err(|e| e.to_string())?;
            while left > 0 {
                let next = tokio::time::timeout(READING, messages.next()).await;
                let next = next.map_err(|_| Trouble::Store(format!("{left} plans are said to be there and can't be read")))?;
                let message = next.ok_or("the bucket's reader ended")?.map_err(|e| e.to_string())?;
                let info = message.info().map_err(|e| e.to_string())?;
                left = info.pending;
                if let Some(key) = message.subject.strip_prefix(PREFIX) {
                    // A value that is no plan is not ours: it is replaced or removed.
                    let hash = serde_json::from_slice::<Stored<'_>>(&message.payload).map_or(0, |s| self.hash(s.item.get()));
                    self.known.insert(Key(key.into()), Version { sequence: info.stream_sequence, hash });
                }
            }
        }
        if let Err(error) = self.stream.delete_consumer(&consumer.cached_info().name).await {
            tracing::debug!(%error, "the bucket's reader is left to expire");
        }
        Ok(())
    }

    /// Whether the bucket is still the one that was read, and in a quiet time holds as many keys as are known here.
    async fn is_sound(&mut self, quiet: bool) -> Result<bool, String> {
        let info = self.stream.get_info().await.map_err(|e| e.to_string())?;
        Ok(info.created.to_string() == self.created && !(quiet && info.state.messages != self.known.len() as u64))
    }

    /// Compares everything; gives the position.
    async fn reconcile(&mut self, cloud: &Cloud) -> Result<u64, Trouble> {
        let keys = plan::all(cloud).into_keys().chain(self.known.keys().cloned()).collect();
        self.doubt = false;
        self.publish(keys, cloud).await?;
        Ok(cloud.position)
    }

    /// Brings these keys to what they are in `cloud`.
    async fn publish(&mut self, keys: BTreeSet<Key>, cloud: &Cloud) -> Result<(), Trouble> {
        let results: Vec<(Key, Outcome)> = {
            let this = &*self;
            futures_util::stream::iter(keys)
                .map(|key| async move {
                    let outcome = this.bring(&key, plan::item(cloud, &key), cloud.position).await?;
                    Ok::<_, Trouble>(outcome.map(|outcome| (key, outcome)))
                })
                .buffer_unordered(IN_FLIGHT)
                .filter_map(|result| std::future::ready(result.transpose()))
                .collect::<Vec<Result<_, Trouble>>>()
                .await
                .into_iter()
                .collect::<Result<_, _>>()?
        };
        for (key, outcome) in results {
            match outcome {
                Outcome::Is(version) => drop(self.known.insert(key, version)),
                Outcome::Gone => drop(self.known.remove(&key)),
                Outcome::Taken => {
                    self.known.remove(&key);
                    self.doubt = true;
                }
            }
        }
        Ok(())
    }

    /// None: it is so already.
    async fn bring(&self, key: &Key, item: Option<Item>, position: u64) -> Result<Option<Outcome>, Trouble> {
        let mut known = self.known.get(key).copied();
        let item = item.map(|item| serde_json::to_string(&item).unwrap_or_else(|e| unreachable!("plans are plain data: {e}")));
        let wanted = item.as_ref().map(|text| self.hash(text));
        // Each turn learns what another replica did; more than a few in a row means that this one is behind.
        for _ in 0..4 {
            if wanted == known.map(|v| v.hash) {
                return Ok((known != self.known.get(key).copied()).then(|| known.map_or(Outcome::Gone, Outcome::Is)));
            }
            match (&item, wanted, known) {
                (Some(item), Some(hash), _) => {
                    let value = format!(r#"{{"position":{position},"item":{item}}}"#);
                    if let Some(sequence) = self.put(key, value, known.map_or(0, |v| v.sequence)).await? {
                        return Ok(Some(Outcome::Is(Version { sequence, hash })));
                    }
                }
                (_, _, Some(version)) => match self.stream.delete_message(version.sequence).await {
                    Ok(_) => return Ok(Some(Outcome::Gone)),
                    Err(e) if matches!(e.kind(), stream::DeleteMessageErrorKind::JetStream(_)) => {}
                    Err(e) => return Err(e.to_string().into()),
                },
                _ => return Ok(None),
            }
            match self.last(key).await? {
                // Another replica removed what was known here: perhaps it knows more.
                None if known.is_some() => return Ok(Some(if item.is_some() { Outcome::Taken } else { Outcome::Gone })),
                None => known = None,
                Some((version, at)) if at > position => return Ok(Some(Outcome::Is(version))),
                Some((version, _)) => known = Some(version),
            }
        }
        Ok(Some(Outcome::Taken))
    }

    /// Writes a value if the key's last version is this one (0: there is none). None: it isn't.
    async fn put(&self, key: &Key, value: String, last: u64) -> Result<Option<u64>, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        let sent = self.js.publish_with_headers(format!("{PREFIX}{}", key.0), headers, value.into()).await;
        match sent?.await {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(e) if e.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The last version of a key in the bucket, and the position that it reflects.
    async fn last(&self, key: &Key) -> Result<Option<(Version, u64)>, String> {
        match self.stream.direct_get_last_for_subject(format!("{PREFIX}{}", key.0)).await {
            Ok(message) => {
                let stored = serde_json::from_slice::<Stored<'_>>(&message.payload);
                let (hash, position) = stored.map_or((0, 0), |s| (self.hash(s.item.get()), s.position));
                Ok(Some((Version { sequence: message.sequence, hash }, position)))
            }
            Err(e) if e.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// What became of a key.
enum Outcome {
    Is(Version),
    Gone,
    /// Another replica acts on it.
    Taken,
}
