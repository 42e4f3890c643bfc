//! The metadata service of one host: a listener in each network's namespace that has guests here.
//!
//! Guests are hostile. A guest is who its network and source address say ([`residents`]); it may hold a few connections, for a
//! while, and ask so often; what it sends has a bound; what it does costs its neighbours nothing. Nothing is asked of the
//! conductor for it more often than once in a while.

mod answer;
mod connection;
mod door;
mod residents;

pub use door::{Door, Doors, Neighbours};

use futures_util::future::BoxFuture;
use residents::Residents;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use strata_events::{InstanceId, NetworkId, SecretId};
use strata_projections::plan::instance::InstancePlan;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where user data come from: the plan only names them.
pub trait Secrets: Send + Sync + 'static {
    fn open(&self, id: SecretId) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// Where the passwords go that guests leave for their owners (encrypted by the guest with its owner's key).
pub trait Passwords: Send + Sync + 'static {
    /// Whether it was kept: no if there was one already.
    fn keep(&self, id: InstanceId, password: String) -> BoxFuture<'_, Result<bool, String>>;
}

/// How long something that should be there but isn't is waited for.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often it is looked whether a namespace is still the one that its listener is in.
const LOOK: Duration = Duration::from_secs(1);

/// Serves the guests of one host.
pub struct Metadata {
    shared: Arc<Shared>,
    networks: watch::Sender<BTreeSet<NetworkId>>,
}

/// What every connection needs.
pub(crate) struct Shared {
    residents: RwLock<Arc<Residents>>,
    secrets: Arc<dyn Secrets>,
    passwords: Option<Arc<dyn Passwords>>,
}

impl Shared {
    pub(crate) fn residents(&self) -> Arc<Residents> {
        // A poisoned lock still holds a whole value: it is only ever replaced.
        self.residents.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Metadata {
    /// Without `passwords` guests can't leave any, and the document isn't there.
    pub fn new(secrets: Arc<dyn Secrets>, passwords: Option<Arc<dyn Passwords>>) -> Self {
        let shared = Shared { residents: RwLock::default(), secrets, passwords };
        Self { shared: Arc::new(shared), networks: watch::Sender::new(BTreeSet::new()) }
    }

    /// The guests of this host are these from now on.
    pub fn update(&self, plans: impl IntoIterator<Item = InstancePlan>) {
        let mut residents = self.shared.residents.write().unwrap_or_else(|e| e.into_inner());
        *residents = Arc::new(residents.become_of(plans));
        let networks = residents.networks();
        drop(residents);
        self.networks.send_if_modified(|known| std::mem::replace(known, networks.clone()) != networks);
    }

    /// Answers until it is dropped.
    pub async fn run(&self, doors: Arc<dyn Doors>) {
        let mut wanted = self.networks.subscribe();
        let mut open = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let networks = wanted.borrow_and_update().clone();
            open.retain(|network, task: &mut tokio::task::AbortHandle| {
                networks.contains(network) || {
                    task.abort();
                    false
                }
            });
            for network in networks {
                let (shared, doors) = (self.shared.clone(), doors.clone());
                open.entry(network).or_insert_with(|| tasks.spawn(keep_open(shared, doors, network)));
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                // Ended tasks are those that were aborted; one that panicked is begun again.
                Some(ended) = tasks.join_next_with_id() => if let Err(e) = ended && e.is_panic() {
                    tracing::error!("a metadata listener failed, and is begun again: {e}");
                    open.retain(|_, task| task.id() != e.id());
                },
            }
        }
    }
}

/// Keeps one network's listener where guests look for it.
async fn keep_open(shared: Arc<Shared>, doors: Arc<dyn Doors>, network: NetworkId) {
    let mut pause = PATIENCE.0;
    let mut told = None;
    loop {
        let opener = doors.clone();
        let opened = tokio::task::spawn_blocking(move || opener.open(&network)).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        match opened.and_then(|door| Ok((tokio::net::TcpListener::from_std(door.listener)?, door.neighbours, door.place))) {
            Ok((listener, neighbours, place)) => {
                tracing::debug!(%network, "metadata are served");
                (pause, told) = (PATIENCE.0, None);
                let neighbours = neighbours.map(Arc::new);
                tokio::select! {
                    () = connection::accept(shared.clone(), listener, network, neighbours) => {}
                    () = moved(&*doors, &network, place) => tracing::debug!(%network, "its namespace is another now"),
                }
            }
            Err(e) => {
                // While a network is being made its namespace isn't there yet.
                if pause == PATIENCE.1 && told != Some(e.kind()) {
                    tracing::warn!(%network, "metadata can't be served: {e}");
                    told = Some(e.kind());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PATIENCE.1);
            }
        }
    }
}

/// Returns when the door doesn't stand where it did.
async fn moved(doors: &dyn Doors, network: &NetworkId, place: u64) {
    loop {
        tokio::time::sleep(LOOK).await;
        if doors.place(network).ok() != Some(place) {
            return;
        }
    }
}
