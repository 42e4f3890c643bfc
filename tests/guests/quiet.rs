//! A correct host is left alone: nothing that restarts changes anything on it, and no guest notices (invariant 10).

use crate::faults::ground;
use crate::lab::{Lab, SOON, up};
use crate::wait::eventually;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is shown to those who listen, until they hear it.
const PROBE: &str = "strataprobe";

/// What the kernel says of changes while it lasts: links, addresses, routes, rules of the packet filter.
struct Kernel(Vec<Listener>);

struct Listener {
    name: String,
    child: Child,
    said: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Kernel {
    fn listen(lab: &Lab) -> Self {
        let mut listeners = vec![];
        let mut listen = |name: String, mut command: Command| {
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it is there");
            let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
            let said = Arc::new(Mutex::new(String::new()));
            let into = said.clone();
            let reader = std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| *into.lock().unwrap() += &(l + "\n")));
            listeners.push(Listener { name, child, said, reader });
        };
        let words: [&[&str]; 2] =
            [&["stdbuf", "-oL", "ip", "-o", "monitor", "link", "address", "route", "rule"], &["stdbuf", "-oL", "nft", "monitor"]];
        for words in words {
            let mut command = lab.machine.command(words[0]);
            command.args(&words[1..]);
            listen(format!("{} on the host", words[2]), command);
            for namespace in lab.machine.sh("ls /run/netns").lines() {
                let mut command = lab.machine.command("ip");
                command.args(["netns", "exec", namespace]).args(words);
                listen(format!("{} in {namespace}", words[2]), command);
            }
        }
        // They say nothing when they are ready.
        let deed = format!("ip link add {PROBE} type bridge; ip link del {PROBE}; nft add table ip {PROBE}; nft delete table ip {PROBE}");
        let everywhere = format!("set -e; {deed}; for n in $(ls /run/netns); do ip netns exec $n sh -ec '{deed}'; done");
        eventually("each listener hears", SOON, || {
            lab.machine.sh(&everywhere);
            std::thread::sleep(Duration::from_millis(100));
            let deaf: Vec<&str> = listeners.iter().filter(|l| !l.said.lock().unwrap().contains(PROBE)).map(|l| l.name.as_str()).collect();
            if deaf.is_empty() { Ok(()) } else { Err(deaf.join(", ")) }
        });
        Self(listeners)
    }

    /// What they heard, a line each.
    fn heard(self, lab: &Lab) -> Vec<String> {
        for words in ["ip -o monitor link", "nft monitor"] {
            lab.machine.pids(words).iter().for_each(|pid| drop(lab.machine.try_sh(&format!("kill {pid}"))));
        }
        let mut heard = vec![];
        for Listener { name, mut child, said, reader } in self.0 {
            reader.join().expect("it reads to the end");
            let _ = child.wait();
            let said = said.lock().unwrap();
            // nft tells which process read the rules, too.
            let said = said.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#') && !l.contains(PROBE));
            heard.extend(said.map(|l| format!("{name}: {l}")));
        }
        heard
    }
}

/// Every file of the host that isn't a log, and when it was written or replaced.
fn files(lab: &Lab) -> BTreeMap<String, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![lab.data.join("host")];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let name = entry.path().display().to_string();
            if meta.is_dir() {
                todo.push(entry.path());
            }
            // Guests write to their disks and consoles, libvirt to its log and its sockets.
            let own = ["console.log", "disk.qcow2", "/libvirt/", ".log"].iter().any(|n| name.contains(n));
            if !own {
                found.insert(name, (meta.ino(), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    found
}

/// The domains as libvirt has them.
fn domains(lab: &Lab) -> String {
    let mut all = lab.virsh("list --all");
    for id in lab.virsh("list --all --uuid").lines() {
        all += &lab.virsh(&format!("dumpxml {id}"));
    }
    all
}

/// Does something, and asserts that nothing on the host changed by it.
#[track_caller]
fn changes_nothing(lab: &Lab, what: &str, deed: impl FnOnce()) {
    let (kernel, files_before, domains_before) = (Kernel::listen(lab), files(lab), domains(lab));
    deed();
    lab.is_well();
    // Also what is only looked at every few seconds has had its turn.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(kernel.heard(lab), Vec::<String>::new(), "{what}: the kernel was asked to change something");
    assert_eq!(files(lab), files_before, "{what}: files changed");
    assert_eq!(domains(lab), domains_before, "{what}: domains changed");
}

#[test]
fn a_host_that_is_as_it_should_be_is_not_touched() {
    let ground = ground();
    let lab = ground.watched();
    // What listens does hear.
    let kernel = Kernel::listen(&lab);
    lab.machine.sh("ip link add probe type bridge && ip link del probe && nft add table ip probe && nft delete table ip probe");
    std::thread::sleep(Duration::from_millis(300));
    let heard = kernel.heard(&lab).join("\n");
    assert!(heard.contains("ip on the host") && heard.contains("nft on the host"), "{heard}");

    let pings = [ground.victim().ping(), ground.witness().ping()];
    lab.is_well();
    changes_nothing(&lab, "a restart of the compute worker", || lab.crash("compute"));
    changes_nothing(&lab, "a restart of the network worker", || lab.crash("network"));
    pings.into_iter().for_each(|p| p.lost_nothing("restarts of the workers"));
}

#[test]
fn guests_outlive_the_cloud_and_are_found_again() {
    let ground = ground();
    let lab = ground.watched();
    let (victim, witness) = (ground.victim(), ground.witness());
    let pings = [victim.ping(), witness.ping()];
    let processes = [victim.qemu(), witness.qemu()];
    assert!(processes.iter().all(Option::is_some));
    let files_before = files(&lab);
    lab.tool(&["down"]);
    assert_eq!([victim.qemu(), witness.qemu()], processes, "`strata down` leaves guests running");
    up(&lab.machine, &lab.data);
    lab.is_well();
    for guest in [&victim, &witness] {
        guest.wait_status("ACTIVE", SOON);
    }
    assert_eq!([victim.qemu(), witness.qemu()], processes, "`strata up` adopts them");
    assert_eq!(files(&lab), files_before, "and writes nothing");
    pings.into_iter().for_each(|p| p.lost_nothing("down and up"));
}

#[test]
fn a_second_worker_of_a_kind_is_refused() {
    let ground = ground();
    let lab = ground.watched();
    for part in ["compute", "network"] {
        let done = lab.strata(&["worker", part]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(&format!("a {part} worker runs already")), "{said}");
    }
}
