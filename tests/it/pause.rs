//! A process that is stopped for a while and then goes on (SIGSTOP, SIGCONT): it has missed everything and believes that no
//! time has passed. Meanwhile the others go on, and afterwards it is one of them again: nothing answered is lost, nothing is
//! done twice, no host runs an instance that another was given (invariants 2, 6 and 9).

use crate::cloud::{Cloud, STRATA, eventually, free_port, signal};
use crate::faults::{Ground, Random, Told, call, judge, number};
use crate::replicas::Replica;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Goes on when dropped: a test that fails leaves nothing that can't be ended.
struct Paused(u32);
impl Paused {
    fn of(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }
}
impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

#[test]
fn a_process_that_pauses_and_goes_on_does_no_harm() {
    let seed = number("STRATA_FAULT_SEED", 1 + u64::from(std::process::id()));
    eprintln!("STRATA_FAULT_SEED={seed}");
    let mut random = Random(seed);
    let cloud = Cloud::start(&["--simulated", "2"]);
    let ground = Ground::of(&cloud);
    let port = free_port();
    let replica = Command::new(STRATA)
        .args(["serve", "--services", "api,conductor,scheduler", "--port", &port.to_string(), "--data"])
        .arg(&cloud.data)
        .env("STRATA_PROCESS_OF", &cloud.data)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let replica = Replica(replica);
    let answers = |port| crate::http::raw(port, b"GET /v3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").map(|a| a.status);
    eventually("the second replica answers", Duration::from_secs(30), || match answers(port) {
        Ok(200) => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let (told, over) = (Mutex::new(Told::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (cloud, told, over, ground) = (&cloud, &told, &over, &ground);
            let (seed, port) = (random.below(u64::MAX) | 1, if caller % 2 == 0 { cloud.port } else { port });
            scope.spawn(move || call((cloud, port), caller, &mut Random(seed), told, over, ground));
        }
        let accepted = || told.lock().unwrap().accepted;
        let serve = cloud.pid("serve").expect("the services run");
        let simulate = cloud.pid("simulate").expect("the hosts run");
        let nats = cloud.pid("nats").expect("NATS runs");
        // Longer than the database lets a session hold the head without a word, and than a host's lease.
        for (what, pid, secs, others_go_on) in [
            ("one replica", serve, 13, true),
            ("the other replica", replica.0.id(), 13, true),
            ("the hosts", simulate, 4, true),
            ("NATS", nats, 4, true),
            ("one replica, again and again", serve, 1, false),
            ("one replica, again and again", serve, 1, false),
        ] {
            std::thread::sleep(Duration::from_millis(500 + random.below(1000)));
            eprintln!("{what} ({pid}) pauses for {secs} s");
            let paused = Paused::of(pid);
            // It may hold the head: then the others wait until the database ends its session.
            std::thread::sleep(Duration::from_millis(secs * 1000 - 500));
            let before = accepted();
            std::thread::sleep(Duration::from_millis(500));
            assert!(!others_go_on || accepted() > before, "while {what} pauses nothing goes on");
            drop(paused);
        }
        std::thread::sleep(Duration::from_millis(1500));
        over.store(true, Ordering::Relaxed);
    });
    let told = told.into_inner().unwrap();
    eprintln!("{} servers accepted", told.accepted);
    assert!(told.accepted >= 20, "too little happened to prove anything: {told:?}");
    judge(&cloud, &told);
}
