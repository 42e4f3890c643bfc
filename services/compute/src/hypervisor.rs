//! What a hypervisor must be able to do. Every call may be repeated: what is so already is success. A back end keeps with each
//! domain what was applied to it ([`Applied`]), where it outlives the worker (libvirt: the domain's metadata).

use std::future::Future;
use strata_events::InstanceId;
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_projections::plan::instance::InstancePlan;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// The hypervisor itself can't be reached or does not answer: nothing is known, and it is tried again.
    #[error("the hypervisor does not answer: {0}")]
    Unavailable(String),
    /// It was begun and takes its time: to be looked at again, at the latest when the guest changes.
    #[error("it is not done yet")]
    NotYet,
    /// It refused or failed; the sentence is for the user.
    #[error("{0}")]
    Failed(String),
}

/// How much of the plan was carried out: with the plan's own counts, what differs now happened by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Applied {
    pub reboots: u32,
    pub asks: u32,
}

/// A domain of ours as the hypervisor has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Domain {
    pub id: InstanceId,
    pub generation: u32,
    pub power: Power,
    /// None: it was defined, and then something came between.
    pub applied: Option<Applied>,
    /// The taps of its NICs, sorted, where what it has and what it will have when it next starts are the same.
    #[serde(default)]
    pub nics: Option<Vec<String>>,
}

/// Says whether the host may start things at this moment.
pub type Lease<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// What a worker acts through. Calls for different instances run at the same time; for one instance, one after the other.
pub trait Hypervisor: Send + Sync + 'static {
    /// Our domains; those of others are never looked at.
    fn list(&self) -> impl Future<Output = Result<Vec<Domain>, HypervisorError>> + Send;
    fn find(&self, id: &InstanceId) -> impl Future<Output = Result<Option<Domain>, HypervisorError>> + Send;
    /// Prepares disks and defines the domain in the plan's generation, stopped and with nothing applied.
    fn define(&self, plan: &InstancePlan) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Gives a defined domain the plan's NICs: at its next start, and while it runs as soon as the guest lets it.
    fn wire(&self, plan: &InstancePlan) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Asks for the lease at the last moment: much may come before it. Without one it is `NotYet`.
    fn start(&self, id: &InstanceId, lease: Lease<'_>) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Asks the guest to shut down (`NotYet` while it has time), and ends it when it doesn't.
    fn shutdown(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Ends it as if the power failed. A saved state is thrown away.
    fn power_off(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// As hard as pulling the plug, or by asking the guest to shut down (`NotYet`; once it is off it is found stopped and started).
    fn reboot(&self, id: &InstanceId, hard: bool, lease: Lease<'_>) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    fn pause(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    fn unpause(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Saves its memory to disk and ends it.
    fn suspend(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    fn resume(&self, id: &InstanceId, lease: Lease<'_>) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Notes how much of the plan was carried out.
    fn mark(&self, id: &InstanceId, applied: Applied) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// Ends it and removes all that is left of it, also of one that was never wholly defined: definition, disks, logs.
    fn destroy(&self, id: &InstanceId) -> impl Future<Output = Result<(), HypervisorError>> + Send;
    /// What keeps guests from running though the hypervisor answers, in the operator's words.
    fn troubles(&self) -> Vec<String> {
        vec![]
    }
    /// What the host has to give.
    fn inventory(&self) -> impl Future<Output = Result<Inventory, HypervisorError>> + Send;
    /// Returns when a domain may have changed by itself; none says that all may have.
    fn changed(&self) -> impl Future<Output = Option<InstanceId>> + Send;
}
