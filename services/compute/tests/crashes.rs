//! A worker that dies before or after any of its effects: whoever comes after it ends where an undisturbed one would have
//! ended, and nothing is left over.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use strata_compute::simulated::Options;
use strata_compute::{Applied, Compute, Domain, Hypervisor, HypervisorError, Lease, SimulatedHypervisor};
use strata_events::host::Inventory;
use strata_events::instance::{Power, Size};
use strata_events::{InstanceId, ProjectId, UserId};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use uuid::Uuid;

/// Lets so many effects through; from then on the worker is dead. With `late`, the last one happens, but nobody hears of it.
struct Dying {
    real: Arc<SimulatedHypervisor>,
    left: AtomicU32,
    late: bool,
}

impl Dying {
    async fn effect(&self, effect: impl Future<Output = Result<(), HypervisorError>>) -> Result<(), HypervisorError> {
        let dead = || HypervisorError::Unavailable("the worker died".into());
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
            Ok(1) if self.late => effect.await.and(Err(dead())),
            Ok(_) => effect.await,
            Err(_) => Err(dead()),
        }
    }
}

impl Hypervisor for Dying {
    async fn list(&self) -> Result<Vec<Domain>, HypervisorError> {
        self.real.list().await
    }
    async fn find(&self, id: &InstanceId) -> Result<Option<Domain>, HypervisorError> {
        self.real.find(id).await
    }
    async fn define(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        self.effect(self.real.define(plan)).await
    }
    async fn wire(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        self.effect(self.real.wire(plan)).await
    }
    async fn start(&self, id: &InstanceId, lease: Lease<'_>) -> Result<(), HypervisorError> {
        self.effect(self.real.start(id, lease)).await
    }
    async fn shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.shutdown(id)).await
    }
    async fn power_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.power_off(id)).await
    }
    async fn reboot(&self, id: &InstanceId, hard: bool, lease: Lease<'_>) -> Result<(), HypervisorError> {
        self.effect(self.real.reboot(id, hard, lease)).await
    }
    async fn pause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.pause(id)).await
    }
    async fn unpause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.unpause(id)).await
    }
    async fn suspend(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.suspend(id)).await
    }
    async fn resume(&self, id: &InstanceId, lease: Lease<'_>) -> Result<(), HypervisorError> {
        self.effect(self.real.resume(id, lease)).await
    }
    async fn mark(&self, id: &InstanceId, applied: Applied) -> Result<(), HypervisorError> {
        self.effect(self.real.mark(id, applied)).await
    }
    async fn destroy(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.effect(self.real.destroy(id)).await
    }
    async fn inventory(&self) -> Result<Inventory, HypervisorError> {
        self.real.inventory().await
    }
    async fn changed(&self) -> Option<InstanceId> {
        self.real.changed().await
    }
}

fn plan(wanted: Wanted, asks: u32, reboots: u32, generation: u32) -> InstancePlan {
    InstancePlan {
        id: InstanceId(Uuid::from_u128(1)),
        generation,
        wanted,
        ready: true,
        reboots,
        reboot_hard: true,
        asks,
        name: "hello".into(),
        hostname: "hello".into(),
        project: ProjectId(Uuid::nil()),
        user: UserId(Uuid::nil()),
        size: Size {
            flavor: "1".into(),
            name: "m1.nano".into(),
            vcpus: 1,
            ram: 64,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            extra_specs: BTreeMap::new(),
        },
        image: None,
        image_gone: None,
        key_name: None,
        public_key: None,
        metadata: BTreeMap::new(),
        config_drive: false,
        user_data: None,
        nics: vec![],
        zone: "nova".into(),
        launch_index: 0,
        reservation: "r-1".into(),
        security_groups: vec![],
    }
}

#[tokio::test]
async fn a_worker_that_dies_at_any_effect_is_made_good_by_the_next() {
    let life = [
        plan(Wanted::Running, 0, 0, 1),
        plan(Wanted::Stopped, 1, 0, 1),
        plan(Wanted::Running, 2, 0, 1),
        plan(Wanted::Running, 3, 1, 1),
        plan(Wanted::Paused, 4, 1, 1),
        plan(Wanted::Running, 5, 1, 1),
        plan(Wanted::Suspended, 6, 1, 1),
        plan(Wanted::Running, 7, 1, 1),
        plan(Wanted::Running, 7, 1, 2),
        plan(Wanted::Absent, 8, 1, 2),
    ];
    let open = || Arc::new(SimulatedHypervisor::open(Options::default()).expect("in memory"));
    // Where an undisturbed worker is after each step.
    let (mut ends, calm) = (vec![], open());
    for step in &life {
        let settled = Compute::new(calm.clone()).settle(step, &|| true).await;
        ends.push((settled, calm.list().await.expect("list")));
    }
    assert!(ends.iter().all(|(s, _)| s.report.is_some() && !s.again), "{ends:#?}");
    for late in [false, true] {
        for effects in 0..4 {
            let host = open();
            for (n, step) in life.iter().enumerate() {
                let dying = Dying { real: host.clone(), left: effects.into(), late };
                let cut_off = Compute::new(Arc::new(dying)).settle(step, &|| true).await;
                assert!(cut_off.report.is_none() || cut_off.report == ends[n].0.report, "a dying worker tells no tales: {cut_off:?}");
                let next = Compute::new(host.clone()).settle(step, &|| true).await;
                let end = (next, host.list().await.expect("list"));
                assert_eq!(end, ends[n], "step {n}, dead after {effects} effects, late {late}");
            }
        }
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_on_the_way_stops_the_start() {
    let host = Arc::new(SimulatedHypervisor::open(Options::default()).expect("in memory"));
    let asked = AtomicU32::new(0);
    let runs_out = || asked.fetch_add(1, Ordering::Relaxed) == 0;
    let settled = Compute::new(host.clone()).settle(&plan(Wanted::Running, 0, 0, 1), &runs_out).await;
    assert!(settled.report.is_none() && settled.again);
    let powers: Vec<Power> = host.list().await.expect("list").iter().map(|d| d.power).collect();
    assert_eq!(powers, [Power::Stopped], "defined, not started");
    Compute::new(host.clone()).settle(&plan(Wanted::Running, 0, 0, 1), &|| true).await;
    assert_eq!(host.list().await.expect("list")[0].power, Power::Running);
}
