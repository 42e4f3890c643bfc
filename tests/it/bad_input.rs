//! What no client would send: each gets its 4xx in the service's own words, and changes nothing.

use crate::cloud::shared;
use crate::http::{Api, authenticate, raw};
use crate::image::qcow2;
use serde_json::{Value, json};

fn fault(body: &Value) -> &Value {
    body.as_object().and_then(|o| o.values().next()).expect("a fault has one key")
}

#[test]
fn broken_bodies_are_400_and_name_what_is_wrong() {
    let demo = shared().api("demo");
    let json = "Content-Type: application/json\r\n";
    for (path, body) in [
        ("/compute/v2.1/servers", &b"{\"server\": "[..]),
        ("/compute/v2.1/servers", b"[]"),
        ("/compute/v2.1/servers", b"{\"server\": {\"name\": \"\xff\xfe\"}}"),
        ("/network/v2.0/networks", b"nonsense"),
        ("/network/v2.0/networks", b"{\"network\": 5}"),
        ("/image/v2/images", b"{\"disk_format\": 7}"),
    ] {
        let answer = demo.send_as("POST", path, json, body).unwrap();
        assert_eq!(answer.status, 400, "{path} {}: {}", String::from_utf8_lossy(body), answer.text());
        assert!(!answer.text().is_empty(), "{path}: a fault has a body");
    }
}

#[test]
fn unknown_fields_wrong_types_and_values_out_of_range_are_400_with_the_field() {
    let demo = shared().api("demo");
    let admin = shared().api("admin");
    for (api, path, body, field) in [
        (&demo, "/compute/v2.1/servers", json!({"server": {"name": "x", "flavorRef": "1", "imageRef": "", "colour": "red"}}), "colour"),
        (&demo, "/compute/v2.1/servers", json!({"server": {"name": 5, "flavorRef": "1"}}), "name"),
        (&demo, "/compute/v2.1/servers", json!({"server": {"name": "y".repeat(256), "flavorRef": "1"}}), "name"),
        (&demo, "/compute/v2.1/os-keypairs", json!({"keypair": {"name": "a/b"}}), "name"),
        (&admin, "/compute/v2.1/flavors", json!({"flavor": {"name": "f", "ram": -1, "vcpus": 1, "disk": 0}}), "ram"),
        (&demo, "/network/v2.0/networks", json!({"network": {"name": "n", "colour": "red"}}), "colour"),
        (&demo, "/network/v2.0/networks", json!({"network": {"name": "n".repeat(256)}}), "name"),
        (&admin, "/v3/projects", json!({"project": {"name": ""}}), "name"),
    ] {
        let answer = api.post(path, body.clone());
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        let answer = answer.json();
        assert!(fault(&answer).to_string().contains(field), "{path}: the fault does not name {field}: {answer}");
    }
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let demo = shared().api("demo");
    let body = json!({"keypair": {"name": "big", "public_key": "x".repeat(8 << 20)}});
    let answer = demo.send("POST", "/compute/v2.1/os-keypairs", Some(&body)).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[test]
fn only_a_valid_token_says_who_one_is() {
    let cloud = shared();
    let demo = cloud.api("demo");
    let with = |token: &str| Api { token: token.into(), ..demo.clone() };
    let mut forged = demo.token.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    for token in ["", "x", "gAAAAABm", &String::from_utf8(forged).unwrap(), &"A".repeat(4000)] {
        for path in ["/compute/v2.1/servers", "/network/v2.0/networks", "/image/v2/images", "/v3/projects"] {
            let answer = with(token).get(path);
            assert_eq!(answer.status, 401, "{path} with {token:?}: {}", answer.text());
        }
    }
    // What a client says of itself changes nothing.
    let admin = cloud.api("admin");
    let forged = format!(
        "X-User-Id: {}\r\nX-Project-Id: {}\r\nX-Roles: admin\r\nX-Is-Admin-Project: True\r\nX-Identity-Status: Confirmed\r\nX-Service-Roles: service\r\n",
        admin.user, admin.project
    );
    let answer = demo.send_as("GET", "/v3/users", &forged, b"").unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    let answer = with("").send_as("GET", "/v3/users", &forged, b"").unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
    // A revoked token is void at once.
    let other = cloud.api("demo");
    let revoke = demo.send_as("DELETE", "/v3/auth/tokens", &format!("X-Subject-Token: {}\r\n", other.token), b"").unwrap();
    assert_eq!(revoke.status, 204, "{}", revoke.text());
    assert_eq!(other.get("/v3/auth/projects").status, 401);
    assert_eq!(demo.get("/v3/auth/projects").status, 200);
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_told_apart_by_nothing() {
    let cloud = shared();
    let unknown = authenticate(cloud.port, "nobody-of-this-name", "x", "demo").unwrap();
    let wrong = authenticate(cloud.port, "demo", "x", "demo").unwrap();
    assert_eq!((unknown.status, unknown.text()), (wrong.status, wrong.text()));
    assert_eq!(unknown.status, 401);
}

#[test]
fn unknown_and_foreign_ids_are_404() {
    let cloud = shared();
    let (admin, demo) = (cloud.api("admin"), cloud.api("demo"));
    let network = admin.post("/network/v2.0/networks", json!({"network": {"name": "bad-foreign"}})).expect(201).json();
    let id = network["network"]["id"].as_str().unwrap();
    for path in [
        "/compute/v2.1/servers/00000000-0000-0000-0000-000000000001".to_string(),
        "/compute/v2.1/servers/not-an-id".into(),
        "/compute/v2.1/flavors/no-such-flavor".into(),
        "/network/v2.0/networks/00000000-0000-0000-0000-000000000001".into(),
        format!("/network/v2.0/networks/{id}"),
        "/image/v2/images/00000000-0000-0000-0000-000000000001".into(),
        "/compute/v2.1/no-such-thing".into(),
        "/nowhere".into(),
    ] {
        let answer = demo.get(&path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert_eq!(demo.delete(&format!("/network/v2.0/networks/{id}")).status, 404);
    assert_eq!(admin.delete(&format!("/network/v2.0/networks/{id}")).status, 204);
}

#[test]
fn a_taken_mac_and_address_are_409_and_quotas_hold() {
    let cloud = shared();
    let demo = cloud.api("demo");
    let network = demo.post("/network/v2.0/networks", json!({"network": {"name": "bad-net"}})).expect(201).json();
    let network = network["network"]["id"].as_str().unwrap().to_string();
    let port = |body: Value| demo.post("/network/v2.0/ports", json!({"port": body}));
    let first = port(json!({"network_id": network, "mac_address": "fa:16:3e:00:00:01"})).expect(201).json();
    let again = port(json!({"network_id": network, "mac_address": "fa:16:3e:00:00:01"}));
    assert_eq!(again.status, 409, "{}", again.text());
    assert_eq!(demo.delete(&format!("/network/v2.0/networks/{network}")).status, 409);
    assert_eq!(demo.delete(&format!("/network/v2.0/ports/{}", first["port"]["id"].as_str().unwrap())).status, 204);
    assert_eq!(demo.delete(&format!("/network/v2.0/networks/{network}")).status, 204);
    // The default quota of server groups is 10.
    let mut last = 0;
    for n in 0..11 {
        let body = json!({"server_group": {"name": format!("bad-{n}"), "policies": ["affinity"]}});
        last = demo.post("/compute/v2.1/os-server-groups", body).status;
    }
    assert_eq!(last, 403);
    for group in demo.get("/compute/v2.1/os-server-groups").json()["server_groups"].as_array().unwrap() {
        demo.delete(&format!("/compute/v2.1/os-server-groups/{}", group["id"].as_str().unwrap()));
    }
}

#[test]
fn hostile_images_made_by_tools_are_refused() {
    // That nothing is left of them is shown in image_data.rs, on a cloud that nobody else uploads to.
    let cloud = shared();
    let demo = cloud.api("demo");
    let backing = std::env::temp_dir().join(format!("strata-it-{}-backing.qcow2", std::process::id()));
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"])
        .arg(&backing)
        .arg("1M")
        .status();
    assert!(made.is_ok_and(|s| s.success()), "qemu-img makes an image with a backing file");
    let good = qcow2("plain.qcow2");
    let vmdk = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/passwd\" 0\n";
    for (what, format, bytes) in [
        ("a backing file", "qcow2", std::fs::read(&backing).unwrap()),
        ("qcow2 declared as raw", "raw", std::fs::read(&good).unwrap()),
        ("text declared as qcow2", "qcow2", vec![b'x'; 4096]),
        ("a truncated header", "qcow2", std::fs::read(&good).unwrap()[..40].to_vec()),
        ("a VMDK that names a file of the host", "vmdk", vmdk.to_vec()),
    ] {
        let made =
            demo.post("/image/v2/images", json!({"name": "bad", "disk_format": format, "container_format": "bare"})).expect(201).json();
        let id = made["id"].as_str().unwrap().to_string();
        let answer = demo.send_as("PUT", &format!("/image/v2/images/{id}/file"), "Content-Type: application/octet-stream\r\n", &bytes);
        let status = answer.expect("an answer").status;
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_ne!(demo.get(&format!("/image/v2/images/{id}")).json()["status"], "active", "{what}");
        assert_eq!(demo.delete(&format!("/image/v2/images/{id}")).status, 204);
    }
    let _ = (std::fs::remove_file(backing), std::fs::remove_file(good));
}

#[test]
fn what_is_no_http_harms_nobody() {
    let cloud = shared();
    for bytes in
        [&b"\x00\x01\x02\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v3 HTTP/1.1\r\nContent-Length: -5\r\n\r\n"]
    {
        if let Ok(answer) = raw(cloud.port, bytes) {
            assert!((400..600).contains(&answer.status), "{}", answer.status);
        }
    }
    let long = format!("GET /v3/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(300_000));
    if let Ok(answer) = raw(cloud.port, long.as_bytes()) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(cloud.api("demo").get("/compute/v2.1/servers").status, 200);
}

#[test]
fn every_answer_names_its_request_and_microversions_are_negotiated() {
    let demo = shared().api("demo");
    let answer = demo.get("/compute/v2.1/servers");
    let id = answer.header("x-openstack-request-id").expect("a request id").to_string();
    assert!(id.starts_with("req-"), "{id}");
    assert_eq!(answer.header("x-compute-request-id"), Some(id.as_str()));
    let newer = demo.send_as("GET", "/compute/v2.1/servers", "OpenStack-API-Version: compute 2.999\r\n", b"").unwrap();
    assert_eq!(newer.status, 406, "{}", newer.text());
    let latest = demo.send_as("GET", "/compute/v2.1/servers", "OpenStack-API-Version: compute latest\r\n", b"").unwrap();
    assert_eq!(latest.status, 200, "{}", latest.text());
    assert!(latest.header("openstack-api-version").is_some_and(|v| v.starts_with("compute 2.")));
    assert!(latest.header("vary").is_some());
}
