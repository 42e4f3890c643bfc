//! What a host does about instances: compare the plan with what the hypervisor has, and act on the difference.
//!
//! - [`converge()`] is pure: plan and observation in, actions out. The rules of generations and leases are there.
//! - [`Hypervisor`] is what it acts through: a small trait with one file a back end ([`libvirt`], [`simulated`]).
//! - [`Compute`] brings one instance to its plan and says what came of it; strata-worker calls it with every change of the
//!   plan, of the lease and of the hypervisor. An activation has no other input, so there is one code path for a new
//!   server, a restarted worker and a repair.

mod converge;
mod hypervisor;
pub mod libvirt;
pub mod simulated;
mod waits;

pub use converge::{Action, converge, taps};
pub use hypervisor::{Applied, Domain, Hypervisor, HypervisorError, Lease};
pub use libvirt::{LibvirtConfig, LibvirtHypervisor};
pub use simulated::SimulatedHypervisor;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use strata_events::InstanceId;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use strata_projections::report::Report;
use tokio::time::Instant;
use waits::Waits;

/// What bringing one instance to its plan has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub report: Option<Report>,
    /// It differs from the plan still, and time may change that: try again later.
    pub again: bool,
    /// Nothing of it is left and nothing shall be: it may be forgotten.
    pub gone: bool,
}

/// The instances of one host.
pub struct Compute<H> {
    hypervisor: Arc<H>,
    /// The newest generation that was planned here, by instance: an older plan that comes late starts nothing (invariant 6).
    newest: Mutex<HashMap<InstanceId, u32>>,
    waits: Waits,
}

impl<H: Hypervisor> Compute<H> {
    pub fn new(hypervisor: Arc<H>) -> Self {
        Self { hypervisor, newest: Mutex::default(), waits: Waits::default() }
    }
    pub fn hypervisor(&self) -> &Arc<H> {
        &self.hypervisor
    }

    /// What keeps it from its work, in the operator's words.
    pub async fn trouble(&self) -> Option<String> {
        if let Err(e) = self.hypervisor.list().await {
            return Some(e.to_string());
        }
        let mut all = self.hypervisor.troubles();
        all.extend(self.waits.told());
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Brings an instance to its plan. At most one call per instance may run at a time. `lease` is asked again before
    /// each start: it may run out while something slow is going on.
    pub async fn settle(&self, plan: &InstancePlan, lease: Lease<'_>) -> Settled {
        if self.newest_of(plan) > plan.generation {
            return Settled { report: None, again: false, gone: false };
        }
        let begun = Instant::now();
        let done = self.act(plan, lease).await;
        if !lease() || !matches!(done, Err(HypervisorError::Unavailable(_))) {
            self.waits.over(&plan.id);
        }
        let failed = |reason, power| Report::InstanceFailed { id: plan.id, generation: plan.generation, asks: plan.asks, reason, power };
        match done {
            Ok(settled) => settled,
            Err(HypervisorError::Unavailable(why)) => {
                // Nothing is known of the instance, so nothing is said of it; only of what was asked, when it takes too long.
                tracing::warn!(instance = %plan.id, %why, "it can't be done now");
                let lasts = lease() && self.waits.note(plan, begun, &why);
                let report = lasts.then(|| failed(format!("Its host can't do it now and goes on trying: {why}"), None));
                Settled { report, again: true, gone: false }
            }
            Err(HypervisorError::NotYet) => Settled { report: None, again: true, gone: false },
            Err(HypervisorError::Failed(reason)) => {
                // It may have been ended for a start that then failed.
                let found = self.hypervisor.find(&plan.id).await.ok().flatten().filter(|d| d.generation == plan.generation);
                let power = found.map(|d| d.power);
                tracing::warn!(instance = %plan.id, %reason, ?power, "what was asked can't be done");
                Settled { report: Some(failed(reason, power)), again: true, gone: false }
            }
        }
    }

    async fn act(&self, plan: &InstancePlan, lease: Lease<'_>) -> Result<Settled, HypervisorError> {
        let found = self.hypervisor.find(&plan.id).await?;
        let mut changed = false;
        for action in converge(plan, found.as_ref(), lease()) {
            if action.starts_something() && !lease() {
                return Ok(Settled { report: None, again: true, gone: false });
            }
            tracing::debug!(instance = %plan.id, ?action, "acts");
            self.perform(plan, action, lease).await?;
            changed = true;
        }
        let now = if changed { self.hypervisor.find(&plan.id).await? } else { found };
        let gone = now.is_none() && plan.wanted == Wanted::Absent;
        let report = match &now {
            None if gone => Some(Report::InstanceAbsent { id: plan.id, generation: plan.generation }),
            None => None,
            Some(domain) => domain.applied.filter(|a| a.asks == plan.asks && domain.generation == plan.generation).map(|applied| {
                let Applied { reboots, asks } = applied;
                Report::Instance { id: plan.id, generation: plan.generation, power: domain.power, reboots, asks }
            }),
        };
        // A guest may take its time to let go of a NIC.
        let miswired = now.as_ref().is_some_and(|domain| converge::is_miswired(plan, domain));
        let waits = report.is_none() && plan.ready || miswired;
        if gone {
            self.newest.lock().unwrap_or_else(PoisonError::into_inner).remove(&plan.id);
        }
        Ok(Settled { report, again: waits, gone })
    }

    async fn perform(&self, plan: &InstancePlan, action: Action, lease: Lease<'_>) -> Result<(), HypervisorError> {
        let (h, id) = (&self.hypervisor, &plan.id);
        match action {
            // Without it the guest would get an empty disk.
            Action::Define if let Some(image) = plan.image_gone => Err(HypervisorError::Failed(format!(
                "The image {image} was deleted before the server was built. Delete the server and make it of another image."
            ))),
            Action::Define => h.define(plan).await,
            Action::Wire => h.wire(plan).await,
            Action::Start => h.start(id, lease).await,
            Action::Shutdown => h.shutdown(id).await,
            Action::PowerOff => h.power_off(id).await,
            Action::Reboot { hard } => h.reboot(id, hard, lease).await,
            Action::Pause => h.pause(id).await,
            Action::Unpause => h.unpause(id).await,
            Action::Suspend => h.suspend(id).await,
            Action::Resume => h.resume(id, lease).await,
            Action::Mark(applied) => h.mark(id, applied).await,
            Action::Destroy => h.destroy(id).await,
        }
    }

    /// The newest generation seen, this plan included.
    fn newest_of(&self, plan: &InstancePlan) -> u32 {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(plan.id).or_insert(plan.generation);
        *known = plan.generation.max(*known);
        *known
    }
}
