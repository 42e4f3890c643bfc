//! Bad luck, with real guests. Each fault converges within half a minute, or the server says in words what is wrong; nothing is
//! left over; and a second guest, which has nothing to do with it, loses no ping.

use crate::lab::{Guest, Lab, SOON, Watched, network, upload};
use crate::wait::eventually;
use serde_json::json;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A cloud to break, with a guest that is struck, and one on a network of its own that is to notice nothing.
pub struct Ground {
    pub lab: Lab,
    victim: String,
    calm: (String, String),
}

/// One breaks it at a time.
pub fn ground() -> MutexGuard<'static, Ground> {
    static GROUND: LazyLock<Mutex<Ground>> = LazyLock::new(|| {
        let lab = Lab::start();
        let calm = network(&lab.demo, "calm", "10.7.0.0/24");
        let witness = lab.create("witness", json!({"networks": [{"uuid": calm}]}));
        let victim = lab.create("victim", json!({}));
        witness.wait_ready(1);
        victim.wait_ready(1);
        let (witness, victim) = (witness.id.clone(), victim.id.clone());
        Mutex::new(Ground { lab, victim, calm: (calm, witness) })
    });
    // What a failed test broke the next one finds broken, and says so.
    GROUND.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ground {
    pub fn watched(&self) -> Watched<'_> {
        self.lab.watched()
    }
    pub fn victim(&self) -> Guest<'_> {
        Guest { lab: &self.lab, api: &self.lab.demo, id: self.victim.clone(), network: self.lab.network.clone() }
    }
    pub fn witness(&self) -> Guest<'_> {
        Guest { lab: &self.lab, api: &self.lab.demo, id: self.calm.1.clone(), network: self.calm.0.clone() }
    }
}

/// What a fault leads to.
enum Then {
    /// The guest answers, and never stopped running.
    Answers,
    /// The guest is off and the server says so; started, it boots.
    Off,
}

struct Fault {
    name: &'static str,
    strike: fn(&Lab, &Guest<'_>),
    then: Then,
}

const FAULTS: &[Fault] = &[
    Fault { name: "the compute worker is killed", strike: |lab, _| lab.crash("compute"), then: Then::Answers },
    Fault { name: "the network worker is killed", strike: |lab, _| lab.crash("network"), then: Then::Answers },
    Fault { name: "libvirt is killed", strike: |lab, _| lab.crash("libvirt"), then: Then::Answers },
    Fault { name: "the services are killed", strike: |lab, _| lab.crash("serve"), then: Then::Answers },
    Fault { name: "PostgreSQL is killed", strike: |lab, _| lab.crash("postgres"), then: Then::Answers },
    Fault { name: "nats-server is killed", strike: |lab, _| lab.crash("nats"), then: Then::Answers },
    Fault {
        name: "nats-server is killed and its store wiped",
        strike: |lab, _| {
            let store = lab.data.join("nats/jetstream");
            lab.machine.sh(&format!("kill -9 {}; rm -r {}", lab.pid("nats").expect("it runs"), store.display()));
            eventually("its store is made anew", SOON, || if store.exists() { Ok(()) } else { Err("there is none".into()) });
        },
        then: Then::Answers,
    },
    Fault {
        name: "the DHCP server is killed",
        strike: |lab, victim| {
            let served = lab.machine.pids(&victim.network);
            let dnsmasq: Vec<u32> = lab.machine.pids("dnsmasq").into_iter().filter(|p| served.contains(p)).collect();
            assert!(!dnsmasq.is_empty(), "nobody serves DHCP: {:?}", lab.machine.processes());
            dnsmasq.iter().for_each(|pid| drop(lab.machine.sh(&format!("kill -9 {pid}"))));
        },
        then: Then::Answers,
    },
    Fault {
        name: "the network's namespace is removed by hand",
        strike: |lab, victim| drop(lab.machine.sh(&format!("ip netns del strata-{}", victim.network))),
        then: Then::Answers,
    },
    Fault { name: "the packet filter is flushed", strike: |lab, _| drop(lab.machine.sh("nft flush ruleset")), then: Then::Answers },
    Fault {
        name: "the bridge is removed by hand",
        strike: |lab, victim| drop(lab.machine.sh(&format!("ip link del brq{}", &victim.network[..11]))),
        then: Then::Answers,
    },
    Fault {
        name: "the tap is removed by hand",
        strike: |lab, victim| drop(lab.machine.sh(&format!("ip link del {}", victim.tap()))),
        then: Then::Answers,
    },
    Fault {
        name: "the tap is removed by hand and the network worker dies while it makes it again",
        strike: |lab, victim| {
            let tap = victim.tap();
            lab.machine.sh(&format!("ip link del {tap}"));
            eventually("the tap is there again", SOON, || {
                match lab.machine.sh(&format!("ls /proc/sys/net/ipv4/conf | grep -x {tap} || true")) {
                    now if now.trim() == tap => Ok(()),
                    now => Err(now),
                }
            });
            lab.crash("network");
        },
        then: Then::Answers,
    },
    Fault {
        name: "the domain is undefined behind Strata's back",
        strike: |lab, victim| drop(lab.virsh(&format!("undefine {}", victim.id))),
        then: Then::Answers,
    },
    Fault {
        name: "the domain is destroyed behind Strata's back",
        strike: |lab, victim| drop(lab.virsh(&format!("destroy {}", victim.id))),
        then: Then::Off,
    },
    Fault {
        name: "the domain is destroyed and undefined behind Strata's back",
        strike: |lab, victim| {
            lab.virsh(&format!("destroy {}", victim.id));
            lab.virsh(&format!("undefine {}", victim.id));
        },
        then: Then::Off,
    },
    Fault {
        name: "QEMU is killed",
        strike: |lab, victim| {
            let pid = victim.qemu().expect("it runs");
            lab.machine.sh(&format!("kill -9 {pid}"));
        },
        then: Then::Off,
    },
];

/// What there is on the host, a line each: links, addresses, namespaces, rules, DHCP servers, domains.
fn shape(lab: &Lab) -> Vec<String> {
    let script = r#"
        links() { ip -o link | sed -E 's/^[0-9]+: ([^:@]+)[^:]*: <[^>]*> (mtu [0-9]+)( .* (master [^ ]+))?.*/\1 \2 \4/' | sed "s/^/$1 /"; }
        links host
        for n in $(ls /run/netns); do
            ip netns exec $n ip -o addr | sed -E "s/^[0-9]+: ([^ ]+) +([^ ]+ [^ ]+).*/$n \1 \2/"
        done
        nft list ruleset | sed -E 's/counter packets [0-9]+ bytes [0-9]+//' | awk '/^table/ { t = $0 } { print t, $0 }' | sort -u
        for p in /proc/[0-9]*; do [ "$(cat $p/comm 2> /dev/null)" != dnsmasq ] || tr '\0' ' ' < $p/cmdline; echo; done | sed -E 's/dnsmasq-[0-9a-f]+\.conf/dnsmasq.conf/' | sort -u
    "#;
    let mut lines: Vec<String> = lab.machine.sh(script).lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect();
    // Numbers of domains count up, and a dnsmasq that follows its namespace has another configuration.
    lines.extend(lab.virsh("list --all").lines().map(|l| l.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")));
    lines
}

/// The host is what it was.
#[track_caller]
fn is_again(lab: &Lab, name: &str, before: &[String]) {
    eventually(&format!("{name}: the host is what it was"), SOON, || {
        let now = shape(lab);
        let lost: Vec<_> = before.iter().filter(|l| !now.contains(l)).collect();
        let new: Vec<_> = now.iter().filter(|l| !before.contains(l)).collect();
        if lost.is_empty() && new.is_empty() { Ok(()) } else { Err(format!("lost {lost:#?}, new {new:#?}")) }
    });
}

#[test]
fn what_breaks_under_a_guest_is_mended_or_said() {
    strike_with(FAULTS);
}

#[track_caller]
fn strike_with(faults: &[Fault]) {
    let ground = ground();
    let lab = ground.watched();
    let (victim, witness) = (ground.victim(), ground.witness());
    // One alone: STRATA_FAULT=tap
    let only = std::env::var("STRATA_FAULT").unwrap_or_default();
    for Fault { name, strike, then } in faults.iter().filter(|f| f.name.contains(&only)) {
        let begun = std::time::Instant::now();
        let ping = witness.ping();
        let (process, before) = (victim.qemu(), shape(&lab));
        assert!(process.is_some(), "the victim does not run before: {name}");
        strike(&lab, &victim);
        match then {
            Then::Answers => {
                is_again(&lab, name, &before);
                lab.is_well();
                victim.answers();
                victim.wait_status("ACTIVE", SOON);
                assert_eq!(victim.qemu(), process, "{name}: the guest was started anew");
                eventually(&format!("{name}: DHCP and metadata are back"), SOON, || {
                    let path = "http://169.254.169.254/latest/meta-data/instance-type";
                    match victim.try_ssh(&format!("wget -q -O - {path}")) {
                        Ok(said) if said == "it" => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                });
            }
            Then::Off => {
                let boots = victim.said("BOOT").len();
                victim.wait_status("SHUTOFF", SOON);
                victim.act(json!({"os-start": null}));
                victim.wait_ready(boots + 1);
                victim.wait_status("ACTIVE", SOON);
                victim.answers();
            }
        }
        ping.lost_nothing(name);
        eprintln!("{name}: {:?}", begun.elapsed());
    }
}

/// kill -9 of a process, this long after something was asked for.
const CRASHES: &[(&str, u64)] = &[
    ("compute", 0),
    ("compute", 150),
    ("compute", 400),
    ("network", 0),
    ("network", 60),
    ("network", 200),
    ("serve", 0),
    ("postgres", 20),
    ("nats", 20),
];

#[test]
fn a_crash_at_any_step_of_create_and_delete_leaves_nothing_half_done() {
    crash(CRASHES);
}

#[test]
fn a_crash_of_libvirt_while_it_starts_a_guest_leaves_nothing_half_done() {
    crash(&[("libvirt", 150), ("libvirt", 400)]);
}

#[track_caller]
fn crash(crashes: &[(&str, u64)]) {
    let ground = ground();
    let lab = ground.watched();
    let witness = ground.witness();
    for (process, after) in crashes {
        let what = format!("{process} killed after {after} ms");
        let begun = std::time::Instant::now();
        let ping = witness.ping();
        let guest = lab.create("crash", json!({}));
        std::thread::sleep(Duration::from_millis(*after));
        lab.kill(process);
        guest.wait_status("ACTIVE", SOON);
        let tap = guest.tap();
        eventually(&format!("{what}: it runs"), SOON, || guest.qemu().map(drop).ok_or("no QEMU".into()));
        lab.is_well();
        guest.delete();
        std::thread::sleep(Duration::from_millis(*after));
        lab.kill(process);
        guest.wait_gone();
        lab.is_gone(&guest.id, &tap);
        lab.is_well();
        ping.lost_nothing(&what);
        eprintln!("{what}: {:?}", begun.elapsed());
    }
    let replay = lab.tool(&["replay", "--verify"]);
    assert!(replay.contains("plans, each as the log has it"), "{replay}");
}

#[test]
fn an_image_that_can_not_be_used_is_said_in_words() {
    let ground = ground();
    let lab = ground.watched();
    let ping = ground.witness().ping();
    let original = lab.guest_image();

    // The host's copy rots while nobody uses it: what boots next boots from a good one.
    let image = upload(&lab.admin, "rots", &altered(&lab, &original, "rots"));
    let first = lab.create("rots-1", json!({"imageRef": image}));
    first.wait_status("ACTIVE", SOON);
    let tap = first.tap();
    first.delete();
    first.wait_gone();
    lab.is_gone(&first.id, &tap);
    let newest = lab.machine.sh(&format!("ls -t {}/host/images/* | head -n 1", lab.data.display()));
    lab.machine.sh(&format!("chmod u+w '{newest}'; dd if=/dev/urandom of='{newest}' bs=64k seek=40 count=16 conv=notrunc status=none"));
    let second = lab.create("rots-2", json!({"imageRef": image}));
    second.wait_ready(1);
    let tap = second.tap();
    second.delete();
    second.wait_gone();
    lab.is_gone(&second.id, &tap);

    // No room for it on the host.
    let image = upload(&lab.admin, "large", &altered(&lab, &original, "large"));
    let images = lab.data.join("host/images");
    let mount = |options: &str| lab.in_worker("compute", &format!("{options} {}", images.display()));
    mount("mount -t tmpfs -o size=1m tmpfs");
    let guest = lab.create("large", json!({"imageRef": image}));
    eventually("the server says that the disk is full", SOON, || {
        let server = guest.try_show()?;
        let fault = server["fault"]["message"].as_str().unwrap_or_default();
        if server["status"] == "ERROR" && fault.contains("disk is full") {
            Ok(())
        } else {
            Err(format!("{} {}", server["status"], server["fault"]))
        }
    });
    mount("umount");
    let tap = guest.tap();
    guest.delete();
    guest.wait_gone();
    lab.is_gone(&guest.id, &tap);

    // It boots into nothing: that is the guest's own affair, and it can be turned off and deleted.
    let blank = lab.machine.dir.join("blank.qcow2");
    lab.machine.sh(&format!("qemu-img create -q -f qcow2 {} 16M", blank.display()));
    let image = upload(&lab.admin, "blank", &blank);
    let guest = lab.create("blank", json!({"imageRef": image}));
    guest.wait_status("ACTIVE", SOON);
    let tap = guest.tap();
    guest.act(json!({"reboot": {"type": "HARD"}}));
    guest.wait_status("ACTIVE", SOON);
    guest.delete();
    guest.wait_gone();
    lab.is_gone(&guest.id, &tap);
    ping.lost_nothing("images that can't be used");
}

/// The image with another name in its boot sector's unused bytes, so that it is one that no host has yet.
fn altered(lab: &Lab, image: &std::path::Path, name: &str) -> std::path::PathBuf {
    let copy = lab.machine.dir.join(format!("{name}.qcow2"));
    std::fs::copy(image, &copy).unwrap();
    lab.machine.sh(&format!("qemu-io -c 'write -P {} 31k 512' {}", name.len(), copy.display()));
    copy
}
