//! What users see of a guest, and what the guest sees of what users ask.

use crate::lab::{BOOT, Lab, SOON};
use base64::Engine;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;

/// The cloud that tests which break nothing share.
fn shared() -> crate::lab::Watched<'static> {
    static SHARED: LazyLock<Lab> = LazyLock::new(Lab::start);
    SHARED.watched()
}

fn script(text: &str) -> Value {
    base64::engine::general_purpose::STANDARD.encode(text).into()
}

#[test]
fn a_guest_boots_with_its_address_its_name_its_key_and_its_user_data() {
    let lab = shared();
    let guest = lab
        .create("Hello World", json!({"user_data": script("#!/bin/sh\necho user data speak as $(whoami)\n"), "metadata": {"role": "db"}}));
    guest.wait_status("ACTIVE", SOON);
    let ready = guest.wait_ready(1);
    let address = guest.address();
    assert!(ready.starts_with(&format!("hello-world {address} ")), "{ready}");
    let console = guest.console();
    let lease = guest.wait_said("DHCP", 1, SOON);
    assert!(lease.contains(&format!("eth0 {address}/24 ")) && lease.contains("mtu=1450"), "{lease}");
    assert!(lease.contains("169.254.169.254/32") && lease.contains("0.0.0.0/0,10.0.0.1"), "{lease}");
    let metadata = guest.wait_said("METADATA", 1, SOON);
    assert!(metadata.contains(&format!("http uuid={} hostname=hello-world keys=1", guest.id)), "{metadata}");
    assert!(console.contains("user data speak as root"), "{console}");

    guest.answers();
    assert_eq!(guest.ssh("hostname"), "hello-world");
    let asked = guest.ssh("wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json");
    let asked: Value = serde_json::from_str(&asked).unwrap_or_else(|e| panic!("{e}: {asked}"));
    assert_eq!((&asked["uuid"], &asked["name"], &asked["meta"]["role"]), (&json!(guest.id), &json!("Hello World"), &json!("db")));
    assert_eq!(asked["project_id"], json!(lab.demo.project));
    let forged = guest.ssh("wget -q -O - --header 'X-Forwarded-For: 10.0.0.1' http://169.254.169.254/latest/meta-data/local-ipv4");
    assert_eq!(forged, address);

    let timeline = lab.tool(&["timeline", "server", &guest.id]);
    for step in ["InstanceRequested", "InstancePlaced", "PortPlugged", "InstanceStarted"] {
        assert!(timeline.contains(step), "no {step} in\n{timeline}");
    }
    guest.delete();
    guest.wait_gone();
}

#[test]
fn a_config_drive_says_the_same_without_the_network() {
    let lab = shared();
    let guest = lab.create("drive", json!({"config_drive": true, "user_data": script("#!/bin/sh\necho from the drive\n")}));
    guest.wait_ready(1);
    let metadata = guest.wait_said("METADATA", 1, SOON);
    assert!(metadata.contains(&format!("config-drive uuid={} hostname=drive keys=1", guest.id)), "{metadata}");
    assert!(guest.console().contains("from the drive"));
    let disk = "$(findfs LABEL=config-2)";
    let listed = guest.ssh(&format!("mkdir -p /d && mount -o ro {disk} /d && cat /d/openstack/latest/network_data.json"));
    assert!(listed.contains("ipv4_dhcp"), "{listed}");
    guest.delete();
    guest.wait_gone();
}

#[test]
fn what_is_asked_of_a_guest_happens_in_it() {
    let lab = shared();
    let guest = lab.boot("life");
    guest.answers();

    guest.act(json!({"os-stop": null}));
    guest.wait_status("SHUTOFF", SOON);
    guest.wait_said("POWEROFF", 1, SOON);
    assert_eq!(guest.qemu(), None, "it is off, and its process runs");

    guest.act(json!({"os-start": null}));
    guest.wait_status("ACTIVE", SOON);
    guest.wait_ready(2);

    guest.act(json!({"reboot": {"type": "SOFT"}}));
    guest.wait_said("POWEROFF", 2, SOON);
    guest.wait_ready(3);
    guest.wait_status("ACTIVE", SOON);

    guest.act(json!({"reboot": {"type": "HARD"}}));
    guest.wait_ready(4);
    guest.wait_status("ACTIVE", SOON);
    assert!(!guest.said("POWEROFF").iter().any(|line| line.contains("boot=3 ")), "a hard reboot asks nobody");

    guest.answers();
    guest.ssh("echo kept > /tmp/memory");
    guest.act(json!({"pause": null}));
    guest.wait_status("PAUSED", SOON);
    let address = guest.address();
    let silent = lab.inside(&lab.network, &["ping", "-n", "-c", "2", "-W", "1", &address]).output().unwrap();
    assert!(!silent.status.success(), "a paused guest answers");
    guest.act(json!({"unpause": null}));
    guest.wait_status("ACTIVE", SOON);
    guest.answers();

    guest.act(json!({"suspend": null}));
    guest.wait_status("SUSPENDED", SOON);
    assert_eq!(guest.qemu(), None, "it is suspended, and its process runs");
    guest.act(json!({"resume": null}));
    guest.wait_status("ACTIVE", SOON);
    guest.answers();
    assert_eq!(guest.ssh("cat /tmp/memory"), "kept", "its memory is what it was");

    // It turns itself off.
    guest.ssh("(sleep 1; farewell; poweroff -f) > /dev/null 2>&1 &");
    guest.wait_status("SHUTOFF", BOOT);
    let tap = guest.tap();
    guest.delete();
    guest.wait_gone();
    lab.is_gone(&guest.id, &tap);
}

#[test]
fn two_networks_with_the_same_addresses_have_nothing_to_do_with_each_other() {
    let lab = shared();
    let other = crate::lab::network(&lab.demo, "other", "10.0.0.0/24");
    let there = |network: &str| json!({"networks": [{"uuid": network, "fixed_ip": "10.0.0.77"}]});
    let (one, two) = (lab.create("one", there(&lab.network)), lab.create("two", there(&other)));
    for (guest, name) in [(&one, "one"), (&two, "two")] {
        let ready = guest.wait_ready(1);
        assert!(ready.starts_with(&format!("{name} 10.0.0.77 ")), "{ready}");
    }
    for guest in [&one, &two] {
        guest.delete();
        guest.wait_gone();
    }
    crate::wait::eventually("the other network can go", Duration::from_secs(10), || {
        let answer = lab.demo.delete(&format!("/network/v2.0/networks/{other}"));
        if answer.status == 204 { Ok(()) } else { Err(answer.text()) }
    });
    crate::wait::eventually("nothing of it is left on the host", SOON, || {
        let left: Vec<String> = lab.remains().into_iter().filter(|l| l.contains(&other[..11])).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[test]
fn a_network_is_attached_to_a_guest_that_runs_and_detached_again() {
    let lab = shared();
    let other = crate::lab::network(&lab.demo, "plugged", "10.8.0.0/24");
    let guest = lab.boot("nics");
    guest.answers();
    let process = guest.qemu();
    let interfaces = format!("/compute/v2.1/servers/{}/os-interface", guest.id);
    let has = |wanted: &str| {
        crate::wait::eventually(&format!("the guest has {wanted}"), SOON, || match guest.try_ssh("ls /sys/class/net | tr '\\n' ' '") {
            Ok(said) if said.trim() == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    has("eth0 lo");
    let attached = lab.demo.post(&interfaces, json!({"interfaceAttachment": {"net_id": other}})).expect(200).json();
    let port = attached["interfaceAttachment"]["port_id"].as_str().unwrap().to_owned();
    has("eth0 eth1 lo");
    let mac = attached["interfaceAttachment"]["mac_addr"].as_str().unwrap();
    assert_eq!(guest.ssh("cat /sys/class/net/eth1/address"), mac);
    lab.demo.delete(&format!("{interfaces}/{port}")).expect(202);
    has("eth0 lo");
    assert_eq!(guest.qemu(), process, "it was started anew");
    // What comes while it is off is there when it starts, and what went is not missed.
    guest.act(json!({"os-stop": null}));
    guest.wait_status("SHUTOFF", SOON);
    lab.demo.post(&interfaces, json!({"interfaceAttachment": {"net_id": other}})).expect(200);
    guest.act(json!({"os-start": null}));
    guest.wait_ready(2);
    has("eth0 eth1 lo");
    let all = lab.demo.get(&interfaces).expect(200).json();
    let second = all["interfaceAttachments"].as_array().unwrap().iter().find(|i| i["net_id"] == other.as_str()).unwrap()["port_id"].clone();
    lab.demo.delete(&format!("{interfaces}/{}", second.as_str().unwrap())).expect(202);
    guest.act(json!({"reboot": {"type": "HARD"}}));
    guest.wait_ready(3);
    has("eth0 lo");
    guest.delete();
    guest.wait_gone();
    crate::wait::eventually("the other network can go", SOON, || {
        let answer = lab.demo.delete(&format!("/network/v2.0/networks/{other}"));
        if answer.status == 204 { Ok(()) } else { Err(answer.text()) }
    });
}

#[test]
fn a_hard_reboot_that_fails_leaves_a_server_that_is_said_to_be_off() {
    let lab = shared();
    let guest = lab.boot("lost");
    let disk = lab.data.join("host/instances").join(&guest.id).join("disk.qcow2");
    let away = disk.with_extension("away");
    std::fs::rename(&disk, &away).expect("it is there");
    guest.act(json!({"reboot": {"type": "HARD"}}));
    guest.wait_status("SHUTOFF", SOON);
    let events = lab.demo.get(&format!("/compute/v2.1/servers/{}/os-instance-actions", guest.id)).expect(200).json();
    let reboot = events["instanceActions"].as_array().unwrap().iter().find(|a| a["action"] == "reboot").unwrap().clone();
    assert_eq!(reboot["message"], "Error", "{reboot}");
    std::fs::rename(&away, &disk).expect("it is there");
    guest.act(json!({"os-start": null}));
    guest.wait_ready(2);
    guest.wait_status("ACTIVE", SOON);
    guest.delete();
    guest.wait_gone();
}
