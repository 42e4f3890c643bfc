//! The documents, version by version, as Nova has them.

use crate::sample::{nic, plan, uuid};
use base64::Engine;
use serde_json::{Value, json};
use strata_metadata::{Document, Guest, SEED, config_drive_files, lookup};
use strata_projections::plan::instance::InstancePlan;

fn text(plan: &InstancePlan, path: &str) -> Option<String> {
    let guest = Guest { plan, user_data: Some(b"#!/bin/sh\n"), seed: Some(&[7; SEED]) };
    lookup(&guest, path).and_then(Document::bytes).map(|b| String::from_utf8(b).unwrap())
}
fn document(plan: &InstancePlan, path: &str) -> Value {
    serde_json::from_str(&text(plan, path).unwrap_or_else(|| panic!("there is no {path}"))).unwrap()
}
fn sample() -> InstancePlan {
    plan(1, vec![nic(1, "10.0.0.5", true)])
}

#[test]
fn versions_are_listed_and_each_has_what_came_until_then() {
    let plan = sample();
    let versions = "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest";
    for path in ["/openstack", "/openstack/", "//openstack//", "/ec2/../openstack"] {
        assert_eq!(text(&plan, path).as_deref(), Some(versions), "{path}");
    }
    let lists = |version: &str| text(&plan, &format!("/openstack/{version}")).unwrap().replace('\n', " ");
    assert_eq!(lists("2012-08-10"), "meta_data.json user_data");
    assert_eq!(lists("2013-04-04"), "meta_data.json user_data password");
    assert_eq!(lists("2013-10-17"), "meta_data.json user_data password vendor_data.json");
    assert_eq!(lists("2015-10-15"), "meta_data.json user_data password vendor_data.json network_data.json");
    assert_eq!(lists("2016-10-06"), "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json");
    assert_eq!(lists("latest"), lists("2020-10-14"));
    for absent in
        ["/openstack/2011-01-01", "/openstack/2012-08-10/password", "/openstack/latest/meta_data.json/uuid", "/openstack/latest/x"]
    {
        assert_eq!(text(&plan, absent), None, "{absent}");
    }
}

#[test]
fn meta_data_grow_with_the_versions() {
    let plan = sample();
    let latest = document(&plan, "/openstack/latest/meta_data.json");
    let expected = json!({
        "uuid": uuid(1).to_string(),
        "meta": {"role": "db"},
        "public_keys": {"mine": "ssh-ed25519 AAAA me@home\n"},
        "keys": [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAA me@home\n"}],
        "hostname": "guest-1.novalocal",
        "name": "Guest 1",
        "launch_index": 3,
        "availability_zone": "nova",
        "random_seed": base64::engine::general_purpose::STANDARD.encode([7; SEED]),
        "project_id": uuid(700).simple().to_string(),
        "devices": [],
        "dedicated_cpus": [],
    });
    assert_eq!(latest, expected);
    let missing = |version: &str| -> Vec<String> {
        let old = document(&plan, &format!("/openstack/{version}/meta_data.json"));
        expected.as_object().unwrap().keys().filter(|k| old.get(*k).is_none()).cloned().collect()
    };
    assert_eq!(missing("2012-08-10"), ["dedicated_cpus", "devices", "project_id", "random_seed"]);
    assert_eq!(missing("2013-10-17"), ["dedicated_cpus", "devices", "project_id"]);
    assert_eq!(missing("2015-10-15"), ["dedicated_cpus", "devices"]);
    assert_eq!(missing("2018-08-27"), ["dedicated_cpus"]);
    // Nothing was asked for: it isn't there, rather than empty.
    let bare = InstancePlan { metadata: Default::default(), key_name: None, public_key: None, ..sample() };
    let bare = document(&bare, "/openstack/latest/meta_data.json");
    assert!(["meta", "public_keys", "keys"].iter().all(|k| bare.get(k).is_none()), "{bare}");
    // A Windows guest's certificate.
    let certificate = InstancePlan { public_key: Some("-----BEGIN CERTIFICATE-----\n".into()), ..sample() };
    assert_eq!(document(&certificate, "/openstack/latest/meta_data.json")["keys"][0]["type"], "x509");
}

#[test]
fn networks_are_told_with_dhcp_or_with_all_that_a_guest_has_to_set() {
    let plan = plan(1, vec![nic(1, "10.0.0.5", true), nic(2, "10.0.0.6", false)]);
    let data = document(&plan, "/openstack/latest/network_data.json");
    assert_eq!(
        data["links"][0],
        json!({"id": "tap12345678-00", "vif_id": uuid(501).to_string(), "type": "bridge", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:07"})
    );
    assert_eq!(
        data["networks"],
        json!([
            {"id": "network0", "type": "ipv4_dhcp", "link": "tap12345678-00", "network_id": uuid(1).to_string()},
            {"id": "network1", "type": "ipv4", "link": "tap12345678-00", "ip_address": "10.0.0.6", "netmask": "255.255.255.0",
             "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                        {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"}],
             "network_id": uuid(2).to_string(), "services": [{"type": "dns", "address": "9.9.9.9"}]},
        ])
    );
    assert_eq!(data["services"], json!([{"type": "dns", "address": "9.9.9.9"}]), "each once");
}

#[test]
fn ec2_lists_directories_and_keys_as_nova_does() {
    let plan = sample();
    let versions = "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\nlatest";
    assert_eq!(text(&plan, "/").as_deref(), Some(versions));
    assert_eq!(text(&plan, "/ec2").as_deref(), Some(versions));
    assert_eq!(text(&plan, "/latest").as_deref(), Some("meta-data/\nuser-data"));
    let of = |path: &str| text(&plan, &format!("/latest/meta-data/{path}"));
    let entries = "ami-id ami-launch-index ami-manifest-path block-device-mapping/ hostname instance-action instance-id instance-type \
                   local-hostname local-ipv4 placement/ public-hostname public-ipv4 public-keys/ reservation-id security-groups";
    assert_eq!(of("").unwrap().replace('\n', " "), entries);
    for (path, expected) in [
        ("ami-launch-index", "3"),
        ("block-device-mapping", "ami\nroot"),
        ("block-device-mapping/root", "/dev/vda"),
        ("hostname", "guest-1.novalocal"),
        ("instance-id", "i-12345678"),
        ("instance-type", "m1.tiny"),
        ("local-ipv4", "10.0.0.5"),
        ("placement/availability-zone", "nova"),
        ("public-keys", "0=mine"),
        ("public-keys/0", "openssh-key"),
        ("public-keys/0/openssh-key", "ssh-ed25519 AAAA me@home\n"),
        ("reservation-id", "r-abcd1234"),
        ("security-groups", "default\nweb"),
    ] {
        assert_eq!(of(path).as_deref(), Some(expected), "{path}");
    }
    for absent in ["public-keys/0/_name", "public-keys/1", "hostname/x", "nothing"] {
        assert_eq!(of(absent), None, "{absent}");
    }
    assert_eq!(text(&plan, "/latest/user-data").as_deref(), Some("#!/bin/sh\n"));
    assert_eq!(text(&plan, "/1.0/meta-data/instance-type"), None, "that came later");
    assert_eq!(text(&plan, "/2026-01-01/meta-data"), None);
}

#[test]
fn without_user_data_nobody_is_told_of_any() {
    let plan = InstancePlan { user_data: None, ..sample() };
    let guest = Guest { plan: &plan, user_data: None, seed: None };
    let at = |path: &str| lookup(&guest, path).and_then(Document::bytes).map(|b| String::from_utf8(b).unwrap());
    assert_eq!(at("/latest").as_deref(), Some("meta-data/"));
    assert!(!at("/openstack/latest").unwrap().contains("user_data"));
    assert_eq!((at("/latest/user-data"), at("/openstack/latest/user_data")), (None, None));
    let meta_data = at("/openstack/latest/meta_data.json").unwrap();
    assert!(!meta_data.contains("random_seed"), "none is better than one that can be guessed");
    assert!(config_drive_files(&plan, None).iter().all(|(path, _)| !path.contains("user")));
}

#[test]
fn the_config_drive_says_what_the_service_says() {
    let plan = sample();
    let files = config_drive_files(&plan, Some(b"#!/bin/sh\n"));
    let of = |path: &str| files.iter().find(|(p, _)| p == path).map(|(_, b)| String::from_utf8(b.clone()).unwrap());
    for path in ["openstack/latest/network_data.json", "openstack/2013-10-17/vendor_data.json", "openstack/2012-08-10/user_data"] {
        assert_eq!(of(path), text(&plan, &format!("/{path}")), "{path}");
    }
    let json = |path: &str| serde_json::from_str::<Value>(&of(path).unwrap_or_else(|| panic!("no {path}"))).unwrap();
    let mut meta_data = json("openstack/latest/meta_data.json");
    let seed = meta_data.as_object_mut().unwrap().remove("random_seed").unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(seed.as_str().unwrap()).unwrap().len(), SEED);
    let mut served = document(&plan, "/openstack/latest/meta_data.json");
    served.as_object_mut().unwrap().remove("random_seed");
    assert_eq!(meta_data, served);
    let ec2 = json("ec2/latest/meta-data.json");
    assert_eq!(ec2["public-keys"], json!({"0": {"openssh-key": "ssh-ed25519 AAAA me@home\n"}}));
    assert_eq!(of("ec2/2009-04-04/user-data").as_deref(), Some("#!/bin/sh\n"));
    assert!(files.iter().all(|(path, _)| !path.ends_with("password")), "a drive can't take one");
}
