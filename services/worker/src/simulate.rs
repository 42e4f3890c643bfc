//! Many simulated hosts in one process, each with its own credentials, consumer, lease and reports: the same code and the same
//! NATS surface as a real worker; only what is behind the two traits is simulated.

use crate::{Access, Identity, ReadConsole, Role, WorkerError, WorkerOptions, instances, ports, run_worker};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strata_compute::SimulatedHypervisor;
use strata_compute::simulated::Options as HypervisorOptions;
use strata_events::host::Inventory;
use strata_network::SimulatedDataplane;

/// How the simulated hosts behave.
#[derive(Debug, Clone)]
pub struct SimulateOptions {
    pub boot_time: Duration,
    /// How many of a hundred starts fail.
    pub failures_percent: u8,
    pub seed: u64,
    /// Where domains and ports outlive the process, as they would on a real host.
    pub directory: Option<PathBuf>,
    /// What each host has.
    pub inventory: Inventory,
    pub worker: WorkerOptions,
}
impl Default for SimulateOptions {
    fn default() -> Self {
        let h = HypervisorOptions::default();
        Self {
            boot_time: h.boot_time,
            failures_percent: h.failures_percent,
            seed: h.seed,
            directory: None,
            inventory: h.inventory,
            worker: WorkerOptions::default(),
        }
    }
}

/// Runs a worker for each of these hosts until `stop` is done.
pub async fn simulate(hosts: Vec<Identity>, options: SimulateOptions, stop: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
    let mut workers = tokio::task::JoinSet::new();
    for (n, identity) in hosts.into_iter().enumerate() {
        let directory = |kind: &str| options.directory.as_ref().map(|d| d.join(&identity.host.0).join(kind));
        let hypervisor = Arc::new(SimulatedHypervisor::open(HypervisorOptions {
            boot_time: options.boot_time,
            failures_percent: options.failures_percent,
            seed: options.seed.wrapping_add(n as u64),
            directory: directory("domains"),
            inventory: options.inventory.clone(),
        })?);
        let dataplane = Arc::new(SimulatedDataplane::open(directory("ports"))?);
        let worker = options.worker.clone();
        let halves = vec![instances(hypervisor), ports(dataplane)];
        workers.spawn(async move {
            let access = Access::connect(identity, Role::All).await?;
            run_worker(&access, halves, Some(no_console()), worker, std::future::pending()).await;
            Ok(())
        });
    }
    tokio::select! {
        () = stop => Ok(()),
        Some(ended) = workers.join_next() => match ended {
            Ok(outcome) => outcome,
            Err(e) => Err(WorkerError::File(std::io::Error::other(e))),
        },
        else => Ok(()),
    }
}

fn no_console() -> ReadConsole {
    Arc::new(|id, _| Box::pin(async move { Err(format!("the host of instance {id} is simulated and keeps no console log.")) }))
}
