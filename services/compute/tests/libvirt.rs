//! Against a real libvirtd, private to the test (own mount and network namespaces, own directories), with guests that run no
//! further than their firmware: that is enough to see what the hypervisor does. Root only; Debian's libvirt and QEMU.
#![allow(clippy::expect_used)]

#[path = "libvirt/daemon.rs"]
mod daemon;

use daemon::{Daemon, plan};
use std::sync::Arc;
use std::time::Duration;
use strata_compute::libvirt::LibvirtHypervisor;
use strata_compute::{Compute, Hypervisor, HypervisorError, Settled};
use strata_events::instance::Power;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use strata_projections::report::Report;

/// Settles as the worker does: again and again until nothing is left to do.
async fn settle(compute: &Compute<LibvirtHypervisor>, plan: &InstancePlan) -> Settled {
    let mut last = None;
    for _ in 0..400 {
        let settled = compute.settle(plan, &|| true).await;
        if !settled.again || matches!(settled.report, Some(Report::InstanceFailed { .. })) {
            return settled;
        }
        last = Some(settled);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not settle within 20 s: {last:?}")
}

fn is(plan: &InstancePlan, power: Power) -> Option<Report> {
    Some(Report::Instance { id: plan.id, generation: plan.generation, power, reboots: plan.reboots, asks: plan.asks })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_and_nothing_of_it_is_left() {
    let daemon = Daemon::start("life").await;
    let host = Arc::new(daemon.hypervisor("h1"));
    let compute = Compute::new(host.clone());
    let mut now = InstancePlan { config_drive: true, image: Some(daemon.image()), ..plan(1) };
    let mut step = async |wanted: Wanted, power: Power, reboot: Option<bool>| {
        now.wanted = wanted;
        if let Some(hard) = reboot {
            now.reboots += 1;
            now.reboot_hard = hard;
        }
        assert_eq!(settle(&compute, &now).await.report, is(&now, power), "{wanted:?}");
        // Looking again changes nothing.
        let changes = host.changes();
        assert_eq!(settle(&compute, &now).await.report, is(&now, power));
        assert_eq!(host.changes(), changes, "as it should be already");
        now.asks += 1;
    };
    step(Wanted::Running, Power::Running, None).await;
    step(Wanted::Paused, Power::Paused, None).await;
    step(Wanted::Running, Power::Running, None).await;
    step(Wanted::Suspended, Power::Suspended, None).await;
    step(Wanted::Running, Power::Running, None).await;
    step(Wanted::Running, Power::Running, Some(true)).await;
    // The firmware does not listen to the power button: it is powered off when its time is over.
    step(Wanted::Stopped, Power::Stopped, None).await;
    step(Wanted::Running, Power::Running, None).await;
    step(Wanted::Running, Power::Running, Some(false)).await;
    let listed = host.list().await.expect("list");
    assert_eq!(listed.iter().map(|d| (d.id, d.power)).collect::<Vec<_>>(), [(now.id, Power::Running)]);
    assert!(daemon.instance_files(&now.id).iter().any(|f| f == "config.iso"));
    let inventory = host.inventory().await.expect("inventory");
    assert!(inventory.vcpus > 0 && inventory.memory > 0 && inventory.hypervisor_version > 1_000_000, "{inventory:?}");

    now.wanted = Wanted::Absent;
    let gone = settle(&compute, &now).await;
    assert!(gone.gone, "{gone:?}");
    assert_eq!(daemon.left(), Vec::<String>::new());
    assert!(host.list().await.expect("list").is_empty());
    let changes = host.changes();
    assert!(settle(&compute, &now).await.gone);
    assert_eq!(host.changes(), changes, "nothing was there to be removed");
}

/// As Debian's own libvirt has it.
#[tokio::test(flavor = "multi_thread")]
async fn guests_that_run_as_another_user_get_at_their_files_and_nobody_else_does() {
    use std::os::unix::fs::MetadataExt;
    let daemon = Daemon::start_as("user", "libvirt-qemu").await;
    let host = Arc::new(daemon.hypervisor("h1"));
    let compute = Compute::new(host.clone());
    let mut now = InstancePlan { config_drive: true, image: Some(daemon.image()), ..plan(1) };
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));
    let process = daemon.qemu(&now.id).expect("it runs");
    assert_ne!(std::fs::metadata(format!("/proc/{process}")).expect("it runs").uid(), 0, "it runs as root");
    for file in daemon.files(&now.id) {
        let mode = std::fs::metadata(&file).expect("it is there").mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", file.display());
    }
    // A second one on the same image, and the first again.
    let second = InstancePlan { id: plan(2).id, ..now.clone() };
    assert_eq!(settle(&compute, &second).await.report, is(&second, Power::Running));
    for (wanted, power) in [(Wanted::Suspended, Power::Suspended), (Wanted::Running, Power::Running), (Wanted::Stopped, Power::Stopped)] {
        (now.wanted, now.asks) = (wanted, now.asks + 1);
        assert_eq!(settle(&compute, &now).await.report, is(&now, power));
    }
    (now.wanted, now.asks) = (Wanted::Running, now.asks + 1);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));
    for server in [now, second] {
        assert!(settle(&compute, &InstancePlan { wanted: Wanted::Absent, ..server }).await.gone);
    }
    assert_eq!(daemon.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_behind_our_back_is_seen_and_what_was_undefined_is_put_back() {
    let daemon = Daemon::start("behind").await;
    let host = Arc::new(daemon.hypervisor("h1"));
    let compute = Compute::new(host.clone());
    let mut now = plan(2);
    settle(&compute, &now).await;
    while tokio::time::timeout(Duration::from_millis(300), host.changed()).await.is_ok() {}

    daemon.kill_qemu(&now.id);
    let seen = tokio::time::timeout(Duration::from_secs(10), host.changed()).await.expect("an event");
    assert_eq!(seen, Some(now.id));
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Crashed), "nobody asked for a start");
    now.asks += 1;
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));

    daemon.virsh(&["undefine", &format!("instance-{}", now.id)]);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running), "it runs on");
    (now.wanted, now.asks) = (Wanted::Suspended, now.asks + 1);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Suspended), "its definition was put back for that");
    (now.wanted, now.asks) = (Wanted::Running, now.asks + 1);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));
    daemon.virsh(&["undefine", &format!("instance-{}", now.id)]);
    daemon.virsh(&["destroy", &format!("instance-{}", now.id)]);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Stopped));
    now.asks += 1;
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running), "defined from what the host keeps");
    assert!(settle(&compute, &InstancePlan { wanted: Wanted::Absent, ..now }).await.gone);
    assert_eq!(daemon.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_outlive_libvirt_and_worker_and_are_adopted_as_they_are() {
    let mut daemon = Daemon::start("adopt").await;
    let now = plan(3);
    {
        let host = Arc::new(daemon.hypervisor("h1"));
        settle(&Compute::new(host), &now).await;
    }
    let before = daemon.qemu(&now.id).expect("it runs");
    assert!(!daemon.marked(&now.id), "it would be ended with the cloud");
    daemon.stop();
    let host = Arc::new(daemon.hypervisor("h1"));
    let refused = host.find(&now.id).await;
    assert!(matches!(refused, Err(HypervisorError::Unavailable(_))), "{refused:?}");
    let waiting = Compute::new(host.clone()).settle(&now, &|| true).await;
    assert_eq!(waiting, Settled { report: None, again: true, gone: false }, "nothing is said of what nobody can see");
    daemon.restart().await;
    assert_eq!(settle(&Compute::new(host.clone()), &now).await.report, is(&now, Power::Running));
    assert_eq!(host.changes(), 0, "a correct host is left as it is");
    assert_eq!(daemon.qemu(&now.id), Some(before), "the same process");
    // An older plan that comes late changes nothing; a newer generation begins afresh.
    let compute = Compute::new(host.clone());
    let moved = InstancePlan { generation: 2, ..now.clone() };
    assert_eq!(settle(&compute, &moved).await.report, is(&moved, Power::Running));
    assert_ne!(daemon.qemu(&now.id), Some(before));
    assert_eq!(compute.settle(&now, &|| true).await.report, None);
    let other = daemon.hypervisor("h2");
    daemon.ready(&other).await;
    assert!(other.list().await.expect("list").is_empty(), "another host's domains are not ours");
    let foreign = other.destroy(&now.id).await;
    assert!(matches!(&foreign, Err(HypervisorError::Failed(why)) if why.contains("not Strata's")), "{foreign:?}");
    assert!(settle(&compute, &InstancePlan { wanted: Wanted::Absent, ..moved }).await.gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_libvirt_that_hangs_holds_up_nobody() {
    let daemon = Daemon::start("hang").await;
    let host = Arc::new(daemon.hypervisor("h1"));
    daemon.ready(&host).await;
    daemon.freeze();
    let begun = std::time::Instant::now();
    let looks = (0..20).map(|n| {
        let host = host.clone();
        tokio::spawn(async move { host.find(&plan(n).id).await })
    });
    for look in looks.collect::<Vec<_>>() {
        let refused = look.await.expect("no panic");
        assert!(matches!(refused, Err(HypervisorError::Unavailable(_))), "{refused:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    daemon.thaw();
    daemon.ready(&host).await;
}

fn nic() -> strata_projections::plan::instance::Nic {
    strata_projections::plan::instance::Nic {
        port: strata_events::PortId(uuid::Uuid::nil()),
        network: strata_events::NetworkId(uuid::Uuid::nil()),
        mac: "fa:16:3e:00:00:01".parse().expect("a MAC"),
        mtu: 1450,
        fixed_ips: vec![],
        subnets: vec![],
        dns_domain: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_waits_for_a_missing_tap_as_a_start_does() {
    let daemon = Daemon::start("tap").await;
    let host = Arc::new(daemon.hypervisor_with("h1", Duration::from_secs(30), daemon.zeros()));
    let compute = Compute::new(host.clone());
    let mut now = InstancePlan { nics: vec![nic()], ..plan(1) };
    let tap = strata_compute::libvirt::tap(&nic().port);
    daemon.make_tap(&tap);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));
    (now.wanted, now.asks) = (Wanted::Suspended, 1);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Suspended));
    daemon.remove_tap(&tap);
    (now.wanted, now.asks) = (Wanted::Running, 2);
    let waits = compute.settle(&now, &|| true).await;
    assert!(waits.report.is_none() && waits.again, "{waits:?}");
    daemon.make_tap(&tap);
    assert_eq!(settle(&compute, &now).await.report, is(&now, Power::Running));
    assert!(settle(&compute, &InstancePlan { wanted: Wanted::Absent, ..now }).await.gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_cannot_do_is_said_in_words() {
    let daemon = Daemon::start("words").await;
    let host = Arc::new(daemon.hypervisor("h1"));
    daemon.ready(&host).await;
    let reason = async |plan: InstancePlan| {
        let compute = Compute::new(host.clone());
        let Some(Report::InstanceFailed { reason, .. }) = settle(&compute, &plan).await.report else { panic!("it can't work") };
        assert!(compute.settle(&InstancePlan { wanted: Wanted::Absent, ..plan }, &|| true).await.gone);
        assert_eq!(daemon.left(), Vec::<String>::new());
        reason
    };
    let no_tap = reason(InstancePlan { nics: vec![nic()], ..plan(1) }).await;
    assert!(no_tap.contains("a network interface of it is missing"), "{no_tap}");
    let mut large = daemon.image();
    large.size = 1 << 20;
    large.sha512 = "0".repeat(128);
    let damaged = reason(InstancePlan { image: Some(large), ..plan(2) }).await;
    assert!(damaged.contains("damaged"), "{damaged}");
    let odd = strata_projections::plan::instance::PlannedImage { disk_format: "vmdk".into(), ..daemon.image() };
    let refused = reason(InstancePlan { image: Some(odd), ..plan(3) }).await;
    assert!(refused.contains("vmdk"), "{refused}");
    // A disk of two MiB: the image fits nowhere, or its overlay.
    daemon.fill_disk();
    let full = reason(InstancePlan { image: Some(daemon.image()), ..plan(4) }).await;
    assert!(full.contains("disk is full"), "{full}");
}
