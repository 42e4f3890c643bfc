//! What needs no server: folding and memory. (The scheduler's decision is here too.)

use crate::report::{Must, Report, Row, percentile};
use crate::world;
use std::time::Instant;
use strata_events::HostName;
use strata_projections::Cloud;

/// Servers in the log that is folded; each leaves ten events.
const SERVERS: u64 = 20_000;
/// Servers whose memory is measured.
const KEPT: u64 = 50_000;

pub fn measure(report: &mut Report) {
    fold(report);
    memory(report);
    schedule(report);
}

fn fold(report: &mut Report) {
    let what = "fold of the log into Cloud, decoding included";
    if !report.wants(what) {
        return;
    }
    let mut world = world::World::default();
    let mut log: Vec<_> = world.ground(10).iter().map(world::Row::of).collect();
    for n in 0..SERVERS {
        let host = HostName(format!("host-{}", n % 10));
        log.extend(world.server(n, &host).iter().map(world::Row::of));
        if n >= 200 {
            log.extend(world.delete(n - 200).iter().map(world::Row::of));
        }
    }
    let rounds = (0..report.rounds)
        .map(|_| {
            let begin = Instant::now();
            let mut cloud = Cloud::default();
            for (i, row) in log.iter().enumerate() {
                if let Err(e) = cloud.apply(&row.decode(i as u64 + 1)) {
                    panic!("{e}");
                }
            }
            log.len() as f64 / begin.elapsed().as_secs_f64()
        })
        .collect();
    report.add(Row { what: what.into(), unit: "events/s", rounds, baseline: vec![], must: Must::AtLeast(300_000.0), they: "" });
}

fn memory(report: &mut Report) {
    let what = "memory of a server with its port";
    if !report.wants(what) {
        return;
    }
    let mut kept = vec![];
    let rounds = (0..report.rounds)
        .map(|_| {
            let mut world = world::World::default();
            world.ground(10);
            let before = resident();
            for n in 0..KEPT {
                world.server(n, &HostName(format!("host-{}", n % 10)));
            }
            let grown = resident().saturating_sub(before);
            kept.push(world); // the next round must not reuse its pages
            grown as f64 / KEPT as f64 / 1024.0
        })
        .collect();
    report.add(Row { what: what.into(), unit: "KiB", rounds, baseline: vec![], must: Must::AtMost(10.0), they: "" });
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn schedule(report: &mut Report) {
    let what = "one scheduling decision over 1,000 hosts, p99";
    if !report.wants(what) {
        return;
    }
    let mut world = world::World::default();
    world.ground(1000);
    for n in 0..5000 {
        world.server(n, &HostName(format!("host-{}", n % 997)));
    }
    // One more that waits.
    world.waiting(1_000_000);
    let rounds = (0..report.rounds)
        .map(|_| {
            let times: Vec<f64> = (0..500)
                .map(|_| {
                    let begin = Instant::now();
                    let placed = strata_scheduler::schedule(&world.cloud, world.cloud.at, 1);
                    assert!(matches!(placed[..], [(_, strata_scheduler::Verdict::Place(_))]), "no host was found");
                    begin.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            percentile(&times, 99.0)
        })
        .collect();
    report.add(Row { what: what.into(), unit: "ms", rounds, baseline: vec![], must: Must::AtMost(5.0), they: "" });
}
