//! kill -9 of each process, one at a time, at random moments, while servers are created and deleted on simulated hosts.
//! Afterwards: every answered request is there, every server is ACTIVE or gone, the log replays to the live state, and
//! nothing is left over (invariants 2, 4, 8 and 9).
//!
//! `STRATA_FAULT_ROUNDS` sets how often each process is killed (1), `STRATA_FAULT_SEED` repeats the moments of a run.

use crate::cloud::{Cloud, eventually, signal};
use crate::compute::ground;
use crate::http::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the callers were told.
#[derive(Debug, Default)]
pub struct Told {
    /// Accepted, and no delete was asked since.
    live: BTreeSet<String>,
    /// A delete was accepted.
    deleted: BTreeSet<String>,
    /// A delete was asked, and no answer came: it may be either.
    unsure: BTreeSet<String>,
    pub accepted: usize,
    unanswered: usize,
}

/// A small generator, so that a run can be repeated.
pub struct Random(pub u64);
impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn killing_any_process_loses_no_answered_request_and_leaves_nothing() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later than 1970");
    let seed = number("STRATA_FAULT_SEED", clock.as_nanos() as u64 | 1);
    eprintln!("STRATA_FAULT_SEED={seed}");
    let mut random = Random(seed);
    let cloud = Cloud::start(&["--simulated", "3", "--separate"]);
    let ground = Ground::of(&cloud);

    let (told, over) = (Mutex::new(Told::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for caller in 0..3 {
            let (cloud, told, over, ground) = (&cloud, &told, &over, &ground);
            let seed = random.below(u64::MAX) | 1;
            scope.spawn(move || call((cloud, cloud.port), caller, &mut Random(seed), told, over, ground));
        }
        for _ in 0..number("STRATA_FAULT_ROUNDS", 1) {
            for victim in ["api", "conductor", "scheduler", "projector", "simulate", "postgres", "nats", "nats, wiped"] {
                std::thread::sleep(Duration::from_millis(1000 + random.below(2000)));
                kill(&cloud, victim);
            }
        }
        std::thread::sleep(Duration::from_millis(1500));
        over.store(true, Ordering::Relaxed);
    });
    let told = told.into_inner().unwrap();
    eprintln!("{} servers accepted, {} deleted, {} calls without an answer", told.accepted, told.deleted.len(), told.unanswered);
    assert!(told.accepted >= 10, "too little happened to prove anything: {told:?}");
    judge(&cloud, &told);
}

/// What servers are made of.
pub struct Ground {
    network: String,
    image: String,
}

impl Ground {
    pub fn of(cloud: &Cloud) -> Self {
        ground(cloud, "fault");
        let mut admin = cloud.client("strata-admin");
        admin.ok("quota set --instances -1 --cores -1 --ram -1 --ports -1 demo");
        let mut demo = cloud.client("strata-demo");
        let mut id = |what: &str| demo.json(what)["id"].as_str().unwrap().to_string();
        Self { network: id("network show fault"), image: id("image show fault") }
    }
}

fn kill(cloud: &Cloud, victim: &str) {
    let name = victim.split(',').next().unwrap();
    let pid = cloud.pid(name).unwrap_or_else(|| panic!("{name} is not running"));
    eprintln!("kill -9 {victim} ({pid})");
    let supervisor = cloud.pid("supervisor").expect("the supervisor runs");
    if victim == "nats, wiped" {
        // So that the store is gone before the server is started again.
        signal(supervisor, "STOP");
    }
    signal(pid, "KILL");
    if victim == "nats, wiped" {
        std::fs::remove_dir_all(cloud.data.join("nats/jetstream")).expect("the store can be removed");
        signal(supervisor, "CONT");
    }
}

/// Creates and deletes servers until it is over; notes every answer.
pub fn call((cloud, port): (&Cloud, u16), caller: usize, random: &mut Random, told: &Mutex<Told>, over: &AtomicBool, ground: &Ground) {
    // Before the first fault, and perhaps in the middle of it.
    let api = loop {
        match cloud.try_api("demo") {
            Ok(api) => break Api { port, ..api },
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let mut mine: Vec<String> = vec![];
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        if mine.len() > 3 && random.below(2) == 0 {
            let id = mine.swap_remove(random.below(mine.len() as u64) as usize);
            let answer = api.send("DELETE", &format!("/compute/v2.1/servers/{id}"), None);
            let mut told = told.lock().unwrap();
            told.live.remove(&id);
            match answer {
                Ok(answer) if answer.status == 204 => drop(told.deleted.insert(id)),
                Ok(answer) if answer.status >= 500 => drop(told.unsure.insert(id)),
                Ok(answer) => panic!("deleting a server: {} {}", answer.status, answer.text()),
                Err(_) => {
                    told.unanswered += 1;
                    told.unsure.insert(id);
                }
            }
        } else {
            n += 1;
            let body = json!({"server": {"name": format!("fault-{caller}-{n}"), "flavorRef": "42", "imageRef": ground.image, "networks": [{"uuid": ground.network}]}});
            match api.send("POST", "/compute/v2.1/servers", Some(&body)) {
                Ok(answer) if answer.status == 202 => {
                    let id = answer.json()["server"]["id"].as_str().unwrap().to_string();
                    let mut told = told.lock().unwrap();
                    told.accepted += 1;
                    told.live.insert(id.clone());
                    mine.push(id);
                }
                Ok(answer) if answer.status >= 500 => told.lock().unwrap().unanswered += 1,
                Ok(answer) => panic!("creating a server: {} {}", answer.status, answer.text()),
                Err(_) => told.lock().unwrap().unanswered += 1,
            }
        }
        std::thread::sleep(Duration::from_millis(50 + random.below(100)));
    }
}

pub fn judge(cloud: &Cloud, told: &Told) {
    let mut api: Option<Api> = None;
    eventually("every server is ACTIVE or gone", Duration::from_secs(30), || {
        if api.is_none() {
            api = Some(cloud.try_api("demo")?);
        }
        let Some(api) = &api else { return Err("nobody is logged in".into()) };
        let answer = api.send("GET", "/compute/v2.1/servers/detail", None).map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(answer.text());
        }
        let servers = answer.json();
        let servers = servers["servers"].as_array().unwrap();
        let waiting: Vec<String> = servers
            .iter()
            .filter(|s| s["status"] != "ACTIVE" || !s["OS-EXT-STS:task_state"].is_null())
            .map(|s| format!("{} {} {} {}", s["id"], s["status"], s["OS-EXT-STS:task_state"], s["fault"]))
            .collect();
        if waiting.is_empty() { Ok(()) } else { Err(format!("{} are not:\n{}", waiting.len(), waiting.join("\n"))) }
    });
    let (demo, admin) = (cloud.api("demo"), cloud.api("admin"));
    let servers = demo.get("/compute/v2.1/servers?limit=1000").json();
    let there: BTreeSet<String> = servers["servers"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_string()).collect();
    let lost: Vec<&String> = told.live.difference(&there).collect();
    assert!(lost.is_empty(), "accepted, but gone: {lost:?}");
    let back: Vec<&String> = told.deleted.intersection(&there).collect();
    assert!(back.is_empty(), "deleted, but there: {back:?}");

    // Nothing is left over: no port without its server, no allocation without its instance.
    let ports = demo.get("/network/v2.0/ports").json();
    // The network itself has one port, from which it serves DHCP and metadata.
    let of_servers = ports["ports"].as_array().unwrap().iter().filter(|p| p["device_owner"] != "network:distributed");
    let devices: Vec<&str> = of_servers.filter_map(|p| p["device_id"].as_str()).collect();
    assert_eq!(devices.iter().map(|d| d.to_string()).collect::<BTreeSet<_>>(), there, "the ports are not those of the servers");
    let hosts = admin.get("/compute/v2.1/os-hypervisors/detail").json();
    let running: u64 = hosts["hypervisors"].as_array().unwrap().iter().filter_map(|h: &Value| h["running_vms"].as_u64()).sum();
    assert_eq!(running, there.len() as u64, "allocations are not those of the servers: {hosts}");

    let verified = cloud.tool(&["audit", "verify"]);
    assert!(verified.contains("each following from the one before it"), "{verified}");
    let replay = cloud.tool(&["replay", "--verify"]);
    assert!(replay.contains("plans, each as the log has it"), "{replay}");
    let status = cloud.tool(&["status"]);
    assert!(status.contains("everything is as it should be"), "{status}");

    // And when the rest is deleted, all of it goes.
    for id in &there {
        assert_eq!(demo.delete(&format!("/compute/v2.1/servers/{id}")).status, 204);
    }
    eventually("the remaining servers go", Duration::from_secs(30), || {
        let left = demo.get("/compute/v2.1/servers").json()["servers"].as_array().map_or(0, Vec::len);
        let ports = demo.get("/network/v2.0/ports?device_owner=compute:nova").json()["ports"].as_array().map_or(0, Vec::len);
        if (left, ports) == (0, 0) { Ok(()) } else { Err(format!("{left} servers and {ports} ports are left")) }
    });
    let replay = cloud.tool(&["replay", "--verify"]);
    assert!(replay.contains("NATS: 0 plans"), "plans of deleted servers are left: {replay}");
}
