//! Who lives where: guests by their network and address. **Invariant: nothing else says who a guest is.**

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strata_events::port::MacAddress;
use strata_events::{InstanceId, NetworkId, SecretId};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use tokio::sync::Semaphore;

/// How many connections a guest may hold at once, and those of whom nothing is known, together.
const CONNECTIONS: usize = 8;
/// Requests that a guest may send at once, and how many a second in the long run.
const BURST: f64 = 200.0;
const RATE: f64 = 50.0;

/// The guests of a host.
#[derive(Debug)]
pub(crate) struct Residents {
    by_address: HashMap<(NetworkId, IpAddr), Resident>,
    /// Of each, what outlives a change of its plan.
    kept: HashMap<InstanceId, Arc<Kept>>,
    /// For connections from addresses at which nobody lives.
    pub(crate) strangers: Arc<Semaphore>,
}

impl Default for Residents {
    fn default() -> Self {
        Self { by_address: HashMap::new(), kept: HashMap::new(), strangers: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

/// One address of a guest.
#[derive(Debug, Clone)]
pub(crate) struct Resident {
    pub(crate) plan: Arc<InstancePlan>,
    pub(crate) mac: MacAddress,
    pub(crate) kept: Arc<Kept>,
}

/// What is known of a guest besides its plan.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) connections: Arc<Semaphore>,
    bucket: Mutex<(f64, Instant)>,
    /// What came of the last attempt to get its user data. Held while they are asked for, so that they are once.
    pub(crate) user_data: tokio::sync::Mutex<Option<Opened>>,
    /// The password that it left. Held while it is being kept, so that there is one.
    pub(crate) password: tokio::sync::Mutex<Option<String>>,
}

/// User data, or that they could not be had, and since when.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: SecretId,
    pub(crate) data: Option<bytes::Bytes>,
    pub(crate) at: Instant,
}

impl Kept {
    fn new() -> Self {
        Self {
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            bucket: Mutex::new((BURST, Instant::now())),
            user_data: Default::default(),
            password: Default::default(),
        }
    }

    /// Whether it may ask now; else after how long.
    pub(crate) fn may_ask(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(|e| e.into_inner());
        let now = Instant::now();
        let filled = (bucket.0 + now.duration_since(bucket.1).as_secs_f64() * RATE).min(BURST);
        *bucket = (filled, now);
        if filled < 1.0 {
            return Err(Duration::from_secs(1));
        }
        bucket.0 -= 1.0;
        Ok(())
    }
}

impl Residents {
    /// For an address that two claim the later plan counts.
    pub(crate) fn become_of(&self, plans: impl IntoIterator<Item = InstancePlan>) -> Self {
        let mut next = Self { strangers: self.strangers.clone(), ..Self::default() };
        for plan in plans.into_iter().filter(|p| p.wanted != Wanted::Absent) {
            let plan = Arc::new(plan);
            let kept = self.kept.get(&plan.id).cloned().unwrap_or_else(|| Arc::new(Kept::new()));
            next.kept.insert(plan.id, kept.clone());
            for nic in &plan.nics {
                for ip in nic.fixed_ips.iter().map(|f| f.ip) {
                    let resident = Resident { plan: plan.clone(), mac: nic.mac, kept: kept.clone() };
                    next.by_address.insert((nic.network, ip), resident);
                }
            }
        }
        next
    }

    pub(crate) fn networks(&self) -> BTreeSet<NetworkId> {
        self.by_address.keys().map(|(network, _)| *network).collect()
    }

    pub(crate) fn at(&self, network: NetworkId, ip: IpAddr) -> Option<&Resident> {
        self.by_address.get(&(network, ip.to_canonical()))
    }
}
