//! Networks, subnets, ports and security groups, as the real client uses them.

use crate::client::column;
use crate::cloud::shared;

#[test]
fn networks_subnets_and_ports_live_and_go() {
    let mut demo = shared().client("strata-demo");
    let network = demo.json("network create itn --description before");
    assert_eq!(network["status"], "ACTIVE");
    demo.ok("network set itn --description after --tag blue");
    assert_eq!(demo.json("network show itn")["description"], "after");
    let subnet = demo.json("subnet create itn-s --network itn --subnet-range 10.9.0.0/29 --dns-nameserver 10.9.0.5");
    assert_eq!(subnet["gateway_ip"], "10.9.0.1");
    demo.ok("subnet set itn-s --description s --no-dns-nameservers");
    assert_eq!(demo.json("subnet show itn-s")["description"], "s");
    assert!(column(&demo.json("subnet list"), "Name").contains(&"itn-s".into()));

    demo.ok("port create itn-p --network itn --fixed-ip subnet=itn-s,ip-address=10.9.0.4");
    demo.ok("port set itn-p --description p --disable");
    let port = demo.json("port show itn-p");
    assert_eq!(port["fixed_ips"][0]["ip_address"], "10.9.0.4");
    assert_eq!(port["admin_state_up"], false);
    assert!(column(&demo.json("port list"), "Name").contains(&"itn-p".into()));

    // What is in use stays; what is taken is taken; what is used up is used up.
    demo.fails("network delete itn", "in use");
    demo.fails("port create itn-q --network itn --fixed-ip subnet=itn-s,ip-address=10.9.0.4", "already allocated");
    // Five addresses: one is the network's own, for DHCP and metadata, and one is taken.
    let own = demo.json("port list --network itn --device-owner network:distributed --long");
    assert_eq!(own.as_array().map(Vec::len), Some(1), "{own}");
    demo.fails(&format!("port delete {}", own[0]["ID"].as_str().expect("an id")), "not by itself");
    for n in 0..3 {
        demo.ok(&format!("port create itn-fill-{n} --network itn"));
    }
    demo.fails("port create itn-full --network itn", "No more IP addresses");

    demo.ok("port delete itn-p itn-fill-0 itn-fill-1 itn-fill-2");
    demo.ok("subnet delete itn-s");
    demo.ok("network delete itn");
    assert!(!column(&demo.json("network list"), "Name").contains(&"itn".into()));
}

#[test]
fn security_groups_and_rules_live_and_go() {
    let mut demo = shared().client("strata-demo");
    let group = demo.json("security group create itn-web --description web");
    assert_eq!(group["rules"].as_array().map(Vec::len), Some(2), "two egress rules come with it: {group}");
    let rule = demo.json("security group rule create itn-web --protocol tcp --dst-port 80:81 --remote-ip 10.0.0.0/8");
    assert_eq!(rule["port_range_min"], 80);
    let id = rule["id"].as_str().expect("an id").to_string();
    demo.ok(&format!("security group rule show {id}"));
    assert_eq!(demo.json("security group rule list itn-web").as_array().map(Vec::len), Some(3));
    demo.fails("security group rule create itn-web --protocol tcp --dst-port 80:81 --remote-ip 10.0.0.0/8", "already exists");
    assert!(column(&demo.json("security group list"), "Name").contains(&"default".into()));
    demo.ok("security group show itn-web");
    demo.ok(&format!("security group rule delete {id}"));
    demo.ok("security group delete itn-web");
}

#[test]
fn agents_zones_and_extensions_are_listed() {
    let mut admin = shared().client("strata-admin");
    assert!(!admin.json("network agent list").as_array().expect("a list").is_empty());
    assert!(!admin.json("availability zone list").as_array().expect("a list").is_empty());
    assert!(!admin.json("extension list").as_array().expect("a list").is_empty());
}
