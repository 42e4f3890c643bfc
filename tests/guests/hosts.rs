//! Several hosts: each a machine of its own, with its own libvirt and workers, and a wire between them.

use crate::lab::{Lab, SOON, STRATA, network};
use crate::machine::Machine;
use crate::wait::eventually;
use serde_json::{Value, json};

/// Lets another machine become a host of the lab's cloud, under its own name. It ends with the machine.
#[track_caller]
pub fn join(lab: &Lab, host: &Machine) {
    host.wire(&lab.machine, "10.77.0.2/24", "10.77.0.1/24");
    // The cloud's own nats-server listens on loopback alone: each end of the wire has it on its own.
    let settings: Value = serde_json::from_slice(&std::fs::read(lab.data.join("strata.json")).expect("the settings")).expect("JSON");
    let port = settings["nats_port"].as_u64().expect("a port");
    let relay = |at: &Machine, on: &str, to: &str| {
        at.sh(&format!("setsid socat TCP-LISTEN:{port},bind={on},fork,reuseaddr TCP:{to}:{port} > /dev/null 2>&1 &"));
    };
    relay(&lab.machine, "10.77.0.1", "127.0.0.1");
    relay(host, "127.0.0.1", "10.77.0.1");
    let token = host.dir.join("token");
    std::fs::write(&token, lab.tool(&["host", "invite", &host.name])).expect("the token is kept");
    let (name, dir) = (&host.name, host.dir.display());
    let join = format!("--endpoint http://10.77.0.1:{} --name {name} --token-file {dir}/token", crate::lab::PORT);
    host.sh(&format!("setsid {STRATA} worker {join} --data {dir}/data > {dir}/worker.log 2>&1 &"));
    eventually(&format!("{} is a host", host.name), SOON, || {
        let hosts = lab.admin.get("/compute/v2.1/os-hypervisors/detail").json();
        let up = |h: &Value| h["hypervisor_hostname"] == json!(host.name) && h["state"] == "up" && h["vcpus"].as_u64() > Some(0);
        let log = || std::fs::read_to_string(host.dir.join("worker.log")).unwrap_or_default();
        if hosts["hypervisors"].as_array().is_some_and(|h| h.iter().any(up)) { Ok(()) } else { Err(format!("{hosts}\n{}", log())) }
    });
}

#[test]
fn guests_boot_on_every_host_of_a_cloud() {
    let lab = Lab::listening("0.0.0.0");
    let lab = lab.watched();
    let second = Machine::start();
    join(&lab, &second);
    // Only admins may name a host.
    let network = network(&lab.admin, "everywhere", "10.9.0.0/24");
    let there = |host: &str| json!({"availability_zone": format!("nova:{host}"), "networks": [{"uuid": network}]});
    let guests = [&lab.machine.name, &second.name].map(|host| (host, lab.create_as(&lab.admin, "anywhere", there(host))));
    for (host, guest) in &guests {
        let ready = guest.wait_ready(1);
        assert!(ready.starts_with(&format!("anywhere {} ", guest.address())), "{ready}");
        let metadata = guest.said("METADATA").join("\n");
        assert!(metadata.contains(&format!("http uuid={}", guest.id)), "{metadata}");
        assert_eq!(guest.show()["OS-EXT-SRV-ATTR:host"], json!(host));
    }
    assert_eq!(second.pids("qemu-system").len(), 1, "{:?}", second.processes());
    for (_, guest) in &guests {
        guest.delete();
    }
    for (_, guest) in &guests {
        guest.wait_gone();
    }
    eventually("nothing is left on the second host", SOON, || {
        let left: Vec<String> = second
            .sh("ls /sys/class/net /run/netns")
            .lines()
            .filter(|l| l.contains("tap") || l.contains("brq") || l.contains("strata-"))
            .map(str::to_string)
            .collect();
        if left.is_empty() && second.pids("qemu-system").is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}
