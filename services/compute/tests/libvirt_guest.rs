//! A guest that boots Linux: what it says on its console, and that it hears the power button. Needs the image that
//! `ops/guest-image DIR` makes: `STRATA_GUEST_IMAGE=DIR/disk.qcow2 cargo test -p strata-compute --test libvirt_guest -- --ignored`.
#![allow(clippy::expect_used)]

#[path = "libvirt/daemon.rs"]
mod daemon;

use daemon::{Daemon, FileImage, plan};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_compute::libvirt::{LibvirtHypervisor, tap};
use strata_compute::{Compute, Hypervisor, Settled};
use strata_events::instance::Power;
use strata_events::{NetworkId, PortId};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::{InstancePlan, Nic};
use strata_projections::report::Report;
use uuid::Uuid;

async fn settle(compute: &Compute<LibvirtHypervisor>, plan: &InstancePlan) -> Settled {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let settled = compute.settle(plan, &|| true).await;
        if !settled.again {
            return settled;
        }
        assert!(settled.report.is_none() && Instant::now() < until, "{settled:?}");
        // As the worker: woken by what happens, and looking by itself now and then.
        let _ = tokio::time::timeout(Duration::from_secs(2), compute.hypervisor().changed()).await;
    }
}

fn power(settled: &Settled) -> Option<Power> {
    match settled.report {
        Some(Report::Instance { power, .. }) => Some(power),
        _ => None,
    }
}

async fn says(host: &LibvirtHypervisor, plan: &InstancePlan, word: &str, times: usize) {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let text = host.console(&plan.id, None).expect("a log");
        if text.matches(word).count() >= times {
            return;
        }
        assert!(Instant::now() < until, "it does not say {word} {times} times: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs STRATA_GUEST_IMAGE"]
async fn a_guest_boots_and_hears_the_power_button() {
    let image = FileImage::of(std::env::var_os("STRATA_GUEST_IMAGE").expect("STRATA_GUEST_IMAGE").as_ref(), "qcow2");
    let daemon = Daemon::start("guest").await;
    let host = Arc::new(daemon.hypervisor_with("h1", Duration::from_secs(40), image.clone()));
    let compute = Compute::new(host.clone());
    let port = PortId(Uuid::from_u128(0x1234_5678_9abc_def0_1111_2222_3333_4444));
    daemon.make_tap(&tap(&port));
    let nic = Nic {
        port,
        network: NetworkId(Uuid::nil()),
        mac: "fa:16:3e:00:00:01".parse().expect("a MAC"),
        mtu: 1450,
        fixed_ips: vec![],
        subnets: vec![],
        dns_domain: String::new(),
    };
    let mut now = InstancePlan { image: Some(image.planned.clone()), config_drive: true, nics: vec![nic], ..plan(50) };
    now.size.ram = 128;
    let begun = Instant::now();
    assert_eq!(power(&settle(&compute, &now).await), Some(Power::Running));
    eprintln!("running, the image fetched: {:?}", begun.elapsed());
    says(&host, &now, "GUEST-READY", 1).await;
    eprintln!("ready: {:?}", begun.elapsed());
    assert!(host.console(&now.id, Some(3)).expect("a log").lines().count() <= 3);

    (now.wanted, now.asks) = (Wanted::Stopped, 1);
    let begun = Instant::now();
    assert_eq!(power(&settle(&compute, &now).await), Some(Power::Stopped));
    eprintln!("shut down by itself: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(35) && host.console(&now.id, None).expect("a log").contains("GUEST-POWEROFF"));

    (now.wanted, now.asks) = (Wanted::Running, 2);
    settle(&compute, &now).await;
    says(&host, &now, "GUEST-READY", 2).await;
    (now.asks, now.reboots) = (3, 1);
    let begun = Instant::now();
    assert_eq!(power(&settle(&compute, &now).await), Some(Power::Running));
    says(&host, &now, "GUEST-READY", 3).await;
    eprintln!("rebooted softly: {:?}", begun.elapsed());
    assert_eq!(host.console(&now.id, None).expect("a log").matches("GUEST-POWEROFF").count(), 2);

    for (asks, wanted, is) in [(4, Wanted::Suspended, Power::Suspended), (5, Wanted::Running, Power::Running)] {
        (now.wanted, now.asks) = (wanted, asks);
        let begun = Instant::now();
        assert_eq!(power(&settle(&compute, &now).await), Some(is));
        eprintln!("{wanted:?}: {:?}", begun.elapsed());
    }
    assert_eq!(host.console(&now.id, None).expect("a log").matches("GUEST-READY").count(), 3, "it goes on where it was");

    // A second one: the image is there.
    let begun = Instant::now();
    let second = InstancePlan { nics: vec![], ..InstancePlan { id: plan(51).id, asks: 0, reboots: 0, ..now.clone() } };
    assert_eq!(power(&settle(&compute, &second).await), Some(Power::Running));
    eprintln!("running, the image cached: {:?}", begun.elapsed());
    for server in [now, second] {
        let begun = Instant::now();
        assert!(settle(&compute, &InstancePlan { wanted: Wanted::Absent, ..server }).await.gone);
        eprintln!("gone: {:?}", begun.elapsed());
    }
    assert_eq!(daemon.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs STRATA_GUEST_IMAGE"]
async fn twenty_idle_guests_cost_the_worker_next_to_nothing() {
    let image = FileImage::of(std::env::var_os("STRATA_GUEST_IMAGE").expect("STRATA_GUEST_IMAGE").as_ref(), "qcow2");
    let daemon = Daemon::start("idle").await;
    let host = Arc::new(daemon.hypervisor_with("h1", Duration::from_secs(1), image.clone()));
    let compute = Arc::new(Compute::new(host.clone()));
    let plans: Vec<InstancePlan> = (0..20).map(|n| InstancePlan { image: Some(image.planned.clone()), ..plan(n) }).collect();
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut now in plans.clone() {
        let compute = compute.clone();
        // Too little for its kernel: it panics at once and costs nothing from then on.
        now.size.ram = 48;
        running.spawn(async move { power(&settle(&compute, &now).await) });
    }
    while let Some(is) = running.join_next().await {
        assert_eq!(is.expect("no panic"), Some(Power::Running));
    }
    eprintln!("20 run: {:?}, CPU {:?} ms", begun.elapsed(), cpu_ms());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = cpu_ms();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("/proc");
    let pss = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).and_then(|l| l.trim().strip_suffix("kB")).expect("Pss");
    let pss: u64 = pss.trim().parse().expect("a number");
    let share = (cpu_ms() - before) as f64 / 20_000.0;
    eprintln!("idle: {pss} KiB PSS, {:.2} % of a core", share * 100.0);
    assert!(pss < 30 * 1024 && share < 0.01);
}

/// Of this process, guests apart.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<u64> = stat[stat.rfind(')').expect("a name")..].split(' ').skip(12).take(2).filter_map(|f| f.parse().ok()).collect();
    fields.iter().sum::<u64>() * 10
}
