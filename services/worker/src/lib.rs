//! A host's worker: its own plan comes in over NATS, the observations go back, and in between every instance and port is
//! brought to its plan (strata-compute, strata-network). It holds no other state than theirs and has no other access than
//! its host's credentials.
//!
//! - `link` keeps the connection, `plans` the standing order for the plan, `reports` what was not yet taken in, `lease`
//!   the right to start things; `drive` decides what to look at when.
//! - Everything is level-triggered: a lost, repeated or late message does no harm, and a fresh worker starts from the whole
//!   plan. **Invariant: only what differs is touched.**

mod access;
mod asks;
mod drive;
mod half;
pub mod http;
mod lease;
mod link;
mod plans;
mod reports;
mod simulate;

pub use access::Access;
pub use asks::ReadConsole;
pub use half::{Half, Looked, Thing, instances, ports};
pub use simulate::{SimulateOptions, simulate};
pub use strata_projections::report::Role;

use std::sync::Arc;
use std::time::Duration;
use strata_events::HostName;

/// What a host got when it joined.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub host: HostName,
    /// `nats://127.0.0.1:4222`
    pub nats_url: String,
    /// The permit that the conductor signed.
    pub jwt: String,
    /// The private key that never left the host. Never logged.
    pub seed: String,
    /// Where images are fetched: `http://127.0.0.1:5000`
    #[serde(default)]
    pub api_url: String,
    /// The authority whose certificates the API shows (PEM); none: one that the machine trusts.
    #[serde(default)]
    pub api_ca: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} at {})", self.host, self.nats_url)
    }
}

/// Why a worker could not begin. Once it runs it doesn't give up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the host's key is unusable: {0}; let the host join again")]
    BadKey(nkeys::error::Error),
    #[error("NATS at {url}: {source}")]
    Connect { url: String, source: async_nats::ConnectError },
    #[error("the simulated host's file: {0}")]
    File(#[from] std::io::Error),
}

/// How a worker goes about it.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// How many instances and ports are worked on at the same time.
    pub at_once: usize,
    /// How often the whole plan is asked for again, whatever happened.
    pub resync: Duration,
}
impl Default for WorkerOptions {
    fn default() -> Self {
        Self { at_once: 16, resync: Duration::from_secs(120) }
    }
}

/// Runs until `stop` is done. What runs on the host goes on running.
pub async fn run_worker(
    access: &Access,
    halves: Vec<Arc<dyn Half>>,
    console: Option<ReadConsole>,
    options: WorkerOptions,
    stop: impl Future<Output = ()> + Send,
) {
    let link = &*access.link;
    let (changes, plan) = tokio::sync::mpsc::channel(256);
    let (astray, strays) = tokio::sync::mpsc::channel(16);
    let reports = reports::Reports::default();
    let lease = lease::Lease::default();
    tokio::select! {
        () = stop => {}
        () = plans::follow(link, &options, changes) => {}
        () = reports::deliver(link, &reports, &astray) => {}
        () = lease::keep(link, &lease) => {}
        () = asks::answer(link, console, &halves) => {}
        () = drive::drive(halves.clone(), &options, plan, strays, &reports, &lease) => {}
    }
}
