//! Flavors, keypairs, servers and what surrounds them, as the real client uses them, on simulated hosts.

use crate::client::{Client, column};
use crate::cloud::{Cloud, eventually, shared};
use crate::image::qcow2;
use std::time::Duration;

/// An image and a network of this name, for servers.
pub fn ground(cloud: &Cloud, name: &str) {
    let mut admin = cloud.client("strata-admin");
    let file = qcow2(&format!("{name}.qcow2"));
    admin.ok(&format!("image create {name} --disk-format qcow2 --public --file {}", file.display()));
    let _ = std::fs::remove_file(file);
    let mut demo = cloud.client("strata-demo");
    demo.ok(&format!("network create {name}"));
    demo.ok(&format!("subnet create {name} --network {name} --subnet-range 10.8.0.0/24"));
}

#[test]
fn flavors_and_keypairs_live_and_go() {
    let mut admin = shared().client("strata-admin");
    admin.ok("flavor create it-f --id it-f --vcpus 2 --ram 256 --disk 3 --ephemeral 1 --swap 64 --property hw:x=y");
    let flavor = admin.json("flavor show it-f");
    assert_eq!((flavor["vcpus"].as_u64(), flavor["ram"].as_u64(), flavor["disk"].as_u64()), (Some(2), Some(256), Some(3)));
    admin.ok("flavor set it-f --property a=b --description d");
    assert!(admin.json("flavor show it-f")["properties"].to_string().contains('a'));
    assert!(column(&admin.json("flavor list --all"), "Name").contains(&"it-f".into()));
    admin.fails("flavor create it-f --vcpus 1 --ram 64", "409");
    admin.ok("flavor delete it-f");

    let mut demo = shared().client("strata-demo");
    demo.fails("flavor create it-g --vcpus 1 --ram 64", "403");
    let private = demo.ok("keypair create it-made");
    assert!(private.contains("PRIVATE KEY"), "{private}");
    let public = std::env::temp_dir().join(format!("strata-it-{}.pub", std::process::id()));
    std::fs::write(&public, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+4Jq2w1Y4r0mYv0cQ8gq8yR1fQ5WgqXH0lKX2p2Jx6 it@example\n").unwrap();
    demo.ok(&format!("keypair create it-mine --public-key {}", public.display()));
    let _ = std::fs::remove_file(public);
    let names = column(&demo.json("keypair list"), "Name");
    assert!(names.contains(&"it-made".into()) && names.contains(&"it-mine".into()), "{names:?}");
    demo.ok("keypair show it-mine");
    demo.ok("keypair delete it-made it-mine");
}

#[test]
fn a_server_goes_through_its_whole_life() {
    let cloud = shared();
    ground(cloud, "itl");
    let mut demo = cloud.client("strata-demo");
    demo.ok("keypair create itl");
    demo.ok("security group create itl");
    let user_data = std::env::temp_dir().join(format!("strata-it-{}-user-data", std::process::id()));
    std::fs::write(&user_data, "#!/bin/sh\necho hello\n").unwrap();
    let server = demo.json(&format!(
        "server create itl-a --image itl --flavor m1.tiny --network itl --key-name itl --security-group itl --property role=web --config-drive true --user-data {} --wait",
        user_data.display()
    ));
    let _ = std::fs::remove_file(user_data);
    assert_eq!(server["status"], "ACTIVE", "{server}");
    assert_eq!(server["key_name"], "itl");
    assert!(server["addresses"].to_string().contains("10.8.0."), "{server}");

    // A port of one's own outlives its server.
    demo.ok("port create itl-p --network itl");
    demo.ok("server create itl-b --image itl --flavor m1.tiny --port itl-p --wait");
    for (filter, expected) in [("--name itl-a", 1), ("--status ACTIVE --name itl-", 2), ("--name itl-nothing", 0), ("--limit 1", 1)] {
        let list = demo.json(&format!("server list {filter}"));
        assert_eq!(list.as_array().map(Vec::len), Some(expected), "server list {filter}: {list}");
    }
    assert!(column(&demo.json("server list --long"), "Name").contains(&"itl-a".into()));
    let mut admin = cloud.client("strata-admin");
    assert!(column(&admin.json("server list --all-projects"), "Name").contains(&"itl-b".into()));
    assert!(!column(&admin.json("server list"), "Name").contains(&"itl-b".into()));

    for (command, status) in [
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
        ("reboot --wait", "ACTIVE"),
        ("reboot --hard --wait", "ACTIVE"),
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
    ] {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.insert(1, "itl-a");
        demo.ok(&format!("server {}", words.join(" ")));
        becomes(&mut demo, "itl-a", status);
    }
    demo.fails("server unpause itl-a", "409");
    demo.ok("server lock itl-a");
    admin.ok(&format!("server unlock {}", demo.json("server show itl-a")["id"].as_str().expect("an id")));
    demo.ok("server set itl-a --name itl-z --property tier=front");
    assert_eq!(demo.json("server show itl-z")["properties"]["tier"], "front");

    let events = demo.json("server event list itl-z");
    let actions = column(&events, "Action");
    for wanted in ["create", "stop", "start", "reboot", "pause", "unpause", "suspend", "resume"] {
        assert!(actions.iter().any(|a| a == wanted), "{wanted} is missing in {actions:?}");
    }
    let request = events[0]["Request ID"].as_str().expect("a request id").to_string();
    demo.ok(&format!("server event show itl-z {request}"));

    demo.ok("server delete itl-z itl-b --wait");
    demo.fails("server show itl-z", "No Server found");
    assert_eq!(demo.json("port show itl-p")["status"], "DOWN");
    demo.ok("port delete itl-p");
    demo.ok("subnet delete itl");
    demo.ok("network delete itl");
}

#[test]
fn quotas_limits_hypervisors_and_services_are_told() {
    let cloud = shared();
    let mut admin = cloud.client("strata-admin");
    admin.ok("quota show");
    let limits = admin.json("limits show --absolute");
    assert!(column(&limits, "Name").contains(&"max_total_instances".into()), "{limits}");
    let hypervisors = admin.json("hypervisor list");
    let names = column(&hypervisors, "Hypervisor Hostname");
    assert_eq!(names.len(), 3, "{hypervisors}");
    admin.ok(&format!("hypervisor show {}", names[0]));
    let services = admin.json("compute service list");
    assert_eq!(column(&services, "Binary").iter().filter(|b| *b == "nova-compute").count(), 3, "{services}");
    admin.ok(&format!("compute service set {} nova-compute --disable --disable-reason maintenance", names[0]));
    let services = admin.json("compute service list --long");
    assert!(services.to_string().contains("maintenance"), "{services}");
    admin.ok(&format!("compute service set {} nova-compute --enable", names[0]));
}

#[test]
fn a_server_that_fits_nowhere_says_why() {
    let cloud = shared();
    ground(cloud, "itx");
    let mut admin = cloud.client("strata-admin");
    admin.ok("flavor create it-huge --vcpus 1 --ram 9000000 --disk 1");
    admin.ok("quota set --ram -1 demo");
    let mut demo = cloud.client("strata-demo");
    demo.ok("server create itx --image itx --flavor it-huge --network itx");
    becomes(&mut demo, "itx", "ERROR");
    let fault = demo.json("server show itx")["fault"].to_string();
    assert!(fault.contains("No valid host was found") && !fault.contains("MiB"), "{fault}");
    let id = demo.json("server show itx")["id"].as_str().unwrap().to_owned();
    let told = admin.json(&format!("server show {id}"))["fault"].to_string();
    assert!(told.contains("Host ") && told.contains("MiB"), "its operator is told which host lacks what: {told}");
    demo.ok("server delete itx --wait");
    admin.ok("flavor delete it-huge");
    demo.ok("subnet delete itx");
    demo.ok("network delete itx");
}

#[track_caller]
fn becomes(client: &mut Client, server: &str, status: &str) {
    eventually(&format!("{server} becomes {status}"), Duration::from_secs(30), || {
        let shown = client.json(&format!("server show {server}"));
        if shown["status"] == status { Ok(()) } else { Err(shown["status"].to_string()) }
    });
}
