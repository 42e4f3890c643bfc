//! What can't be brought to its plan just now, since when and why. A wait that lasts is said: to the operator soon, and to the
//! user who asked for it as a failure of what was asked. A restart of libvirt is over before that.
//! **Invariant: it counts only under a lease, so that nobody is told of failures of a host that was cut off meanwhile.**

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strata_events::InstanceId;
use strata_projections::plan::instance::InstancePlan;
use tokio::time::Instant;

/// After so long the operator is told.
const TELL: Duration = Duration::from_secs(5);
/// After so long the user is. With the worker's last pause it is said within half a minute.
const PATIENCE: Duration = Duration::from_secs(22);
/// A try that came to nothing counts for so long at most: it may have been a long download that went well until its end.
const TRY: Duration = Duration::from_secs(15);
/// Of many that wait, so many are named.
const NAMED: usize = 3;

struct Wait {
    /// Generation and asks: something else that is asked has a patience of its own.
    asked: (u32, u32),
    since: Instant,
    why: String,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waits(Mutex<BTreeMap<InstanceId, Wait>>);

impl Waits {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It could not be done, in a try that began then. Whether it has been so for too long.
    pub fn note(&self, plan: &InstancePlan, begun: Instant, why: &str) -> bool {
        let asked = (plan.generation, plan.asks);
        let begun = Instant::now().checked_sub(TRY).map_or(begun, |latest| begun.max(latest));
        let mut waits = self.lock();
        let wait = waits.entry(plan.id).or_insert_with(|| Wait { asked, since: begun, why: String::new() });
        if wait.asked != asked {
            (wait.asked, wait.since) = (asked, begun);
        }
        wait.why = why.into();
        wait.since.elapsed() >= PATIENCE
    }

    pub fn over(&self, id: &InstanceId) {
        self.lock().remove(id);
    }

    /// For the operator.
    pub fn told(&self) -> Vec<String> {
        let waits = self.lock();
        let long: Vec<_> = waits.iter().filter(|(_, w)| w.since.elapsed() >= TELL).collect();
        let mut told: Vec<String> = long.iter().take(NAMED).map(|(id, w)| format!("server {id} waits: {}", w.why)).collect();
        if long.len() > NAMED {
            told.push(format!("and {} more servers wait", long.len() - NAMED));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use crate::simulated::Options;
    use crate::simulated::tests::plan;
    use crate::{Compute, Hypervisor, SimulatedHypervisor};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use strata_events::instance::Power;
    use strata_projections::plan::instance::InstancePlan;
    use strata_projections::report::Report;

    /// A host whose files can't be written: everything is unavailable.
    fn host() -> (Arc<SimulatedHypervisor>, std::path::PathBuf) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("strata-waits-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        let options = Options { directory: Some(directory.clone()), ..Options::default() };
        let host = Arc::new(SimulatedHypervisor::open(options).expect("a directory"));
        std::fs::remove_dir_all(&directory).expect("it was made");
        (host, directory)
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_long_is_said_to_the_operator_and_then_to_the_user_and_is_done_all_the_same() {
        let (host, directory) = host();
        let compute = Compute::new(host.clone());
        let first = compute.settle(&plan(), &|| true).await;
        assert!(first.report.is_none() && first.again, "a hiccup is nobody's business: {first:?}");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(compute.settle(&plan(), &|| true).await.report.is_none());
        let told = compute.trouble().await.expect("it waits");
        assert!(told.contains(&plan().id.to_string()) && told.contains("No such file"), "{told}");
        tokio::time::advance(Duration::from_secs(20)).await;
        let said = compute.settle(&plan(), &|| true).await;
        assert!(said.again, "it goes on trying");
        let Some(Report::InstanceFailed { reason, .. }) = said.report else { panic!("{said:?}") };
        assert!(reason.contains("No such file"), "{reason}");
        // Something else that is asked has a patience of its own.
        assert_eq!(compute.settle(&InstancePlan { asks: 1, ..plan() }, &|| true).await.report, None);
        std::fs::create_dir_all(&directory).expect("mended");
        let done = compute.settle(&plan(), &|| true).await;
        assert!(matches!(done.report, Some(Report::Instance { power: Power::Running, .. })), "{done:?}");
        assert_eq!(compute.trouble().await, None);
        std::fs::remove_dir_all(&directory).expect("it was made");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_without_a_lease_does_not_count() {
        let (host, _) = host();
        let compute = Compute::new(host.clone());
        let (held, stopped) =
            (AtomicBool::new(true), InstancePlan { wanted: strata_projections::cloud::instance::Wanted::Stopped, ..plan() });
        let lease = || held.load(Ordering::Relaxed);
        for second in 0..60 {
            held.store(second % 20 != 19, Ordering::Relaxed);
            let settled = compute.settle(&stopped, &lease).await;
            assert_eq!(settled.report, None, "cut off every 20 s, it never had long enough for it: {second}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(host.list().await.expect("list").len() <= 1);
    }
}
