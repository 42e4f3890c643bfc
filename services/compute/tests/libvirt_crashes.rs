//! A worker that dies before any single effect on libvirt or on its files, with a real libvirtd: the next one ends where an
//! undisturbed one would have ended, and after the delete nothing is left over. Root only; Debian's libvirt and QEMU.
#![allow(clippy::expect_used)]

#[path = "libvirt/daemon.rs"]
mod daemon;

use daemon::{Daemon, plan};
use std::sync::Arc;
use std::time::Duration;
use strata_compute::libvirt::LibvirtHypervisor;
use strata_compute::{Compute, Settled};
use strata_events::instance::Power;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use strata_projections::report::Report;

/// Settles until it is done, or until the worker died; then there is no answer.
async fn settle(host: &Arc<LibvirtHypervisor>, plan: &InstancePlan, effects: Option<u64>) -> Option<Settled> {
    let compute = Compute::new(host.clone());
    if let Some(effects) = effects {
        host.die_after(effects);
    }
    for _ in 0..400 {
        let settled = compute.settle(plan, &|| true).await;
        if !settled.again {
            return Some(settled);
        }
        assert_eq!(settled.report, None, "nothing fails here");
        if effects.is_some_and(|n| host.changes() > n) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not settle: {plan:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_at_any_effect_is_made_good_by_the_next() {
    let daemon = Daemon::start("crashes").await;
    let first = InstancePlan { config_drive: true, image: Some(daemon.image()), ..plan(1) };
    let step = |wanted, asks, reboots, generation| InstancePlan { wanted, asks, reboots, generation, reboot_hard: true, ..first.clone() };
    let life = [
        (step(Wanted::Running, 0, 0, 1), Power::Running),
        (step(Wanted::Stopped, 1, 0, 1), Power::Stopped),
        (step(Wanted::Running, 2, 0, 1), Power::Running),
        (step(Wanted::Running, 3, 1, 1), Power::Running),
        (step(Wanted::Paused, 4, 1, 1), Power::Paused),
        (step(Wanted::Suspended, 5, 1, 1), Power::Suspended),
        (step(Wanted::Running, 6, 1, 1), Power::Running),
        (step(Wanted::Running, 6, 1, 2), Power::Running),
        (step(Wanted::Absent, 7, 1, 2), Power::Stopped),
    ];
    let mut lives = 0;
    for (n, (plan, power)) in life.iter().enumerate() {
        let mut effects = 0;
        let settled = loop {
            // A worker of its own each time, which lives one effect longer than the one before it.
            let host = Arc::new(daemon.hypervisor("h1"));
            daemon.ready(&host).await;
            if let Some(settled) = settle(&host, plan, Some(effects)).await {
                break settled;
            }
            effects += 1;
            lives += 1;
            assert!(effects < 20, "step {n} never ends");
        };
        if plan.wanted == Wanted::Absent {
            assert!(settled.gone, "{settled:?}");
        } else {
            let (generation, reboots, asks) = (plan.generation, plan.reboots, plan.asks);
            let is = Report::Instance { id: plan.id, generation, power: *power, reboots, asks };
            assert_eq!(settled.report, Some(is), "step {n}");
        }
    }
    assert!(lives > 20, "only {lives} workers died");
    assert_eq!(daemon.left(), Vec::<String>::new(), "nothing is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_died_at_any_effect_can_be_deleted_without_a_rest() {
    let daemon = Daemon::start("cut").await;
    for effects in 0..12 {
        let create = InstancePlan { config_drive: true, image: Some(daemon.image()), ..plan(100 + u128::from(effects)) };
        let host = Arc::new(daemon.hypervisor("h1"));
        daemon.ready(&host).await;
        let done = settle(&host, &create, Some(effects)).await;
        let next = Arc::new(daemon.hypervisor("h1"));
        daemon.ready(&next).await;
        let gone = settle(&next, &InstancePlan { wanted: Wanted::Absent, ..create }, None).await;
        assert!(gone.is_some_and(|s| s.gone), "after {effects} effects");
        assert_eq!(daemon.left(), Vec::<String>::new(), "after {effects} effects");
        if done.is_some() {
            return assert!(effects > 6, "it takes more than {effects} effects to create a server");
        }
    }
    panic!("a create has fewer effects than that")
}
