//! Invariant 8: every mutating call leaves exactly one audit record, whatever comes of it: done, refused, without anything to
//! change, or given up by its client.

use crate::cloud::{Cloud, eventually, text};
use crate::http::{Answer, Api, authenticate};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

#[derive(Default)]
struct Calls(BTreeMap<String, String>);
impl Calls {
    /// Notes a call that must have one record, and its answer.
    #[track_caller]
    fn note(&mut self, what: &str, status: u16, answer: Answer) -> Value {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        self.walked(what, &answer);
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
    fn walked(&mut self, what: &str, answer: &Answer) {
        let id = answer.header("x-openstack-request-id").unwrap_or_else(|| panic!("{what}: no request id")).to_string();
        self.0.insert(id, format!("{what} → {}", answer.status));
    }
}

#[test]
fn every_mutating_call_leaves_exactly_one_record() {
    let cloud = Cloud::start(&[]);
    let (admin, demo) = (cloud.api("admin"), cloud.api("demo"));
    let send = |api: &Api, method: &str, path: &str, body: Value| api.send(method, path, Some(&body)).expect("the API answers");
    let bare = |api: &Api, method: &str, path: &str| api.send(method, path, None).expect("the API answers");
    let mut calls = Calls::default();

    // Logging in, and not.
    let password = std::fs::read_to_string(cloud.data.join("secrets/demo-password")).unwrap();
    let token = authenticate(cloud.port, "demo", &password, "demo").unwrap();
    let rescope =
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": demo.token}}, "scope": {"project": {"id": demo.project}}}});
    calls.note("a login by token", 201, send(&demo, "POST", "/v3/auth/tokens", rescope));
    let subject = format!("X-Subject-Token: {}\r\n", token.header("x-subject-token").unwrap());
    calls.note("a login", 201, token);
    calls.note("a wrong password", 401, authenticate(cloud.port, "demo", "wrong", "demo").unwrap());
    calls.note("a revocation", 204, demo.send_as("DELETE", "/v3/auth/tokens", &subject, b"").unwrap());
    calls.note("a second revocation", 404, demo.send_as("DELETE", "/v3/auth/tokens", &subject, b"").unwrap());

    // What changes something, and the same again, which changes nothing.
    let user = json!({"user": {"name": "audited", "password": "before"}});
    let user = calls.note("a user", 201, send(&admin, "POST", "/v3/users", user));
    let user = user["user"]["id"].as_str().unwrap();
    let member = admin.get("/v3/roles?name=member").json()["roles"][0]["id"].as_str().unwrap().to_string();
    let grant = format!("/v3/projects/{}/users/{user}/roles/{member}", demo.project);
    calls.note("a grant", 204, bare(&admin, "PUT", &grant));
    calls.note("the same grant", 204, bare(&admin, "PUT", &grant));
    let change = json!({"user": {"original_password": "before", "password": "after"}});
    calls.note("a change of password", 204, send(&demo, "POST", &format!("/v3/users/{user}/password"), change));
    let network = calls.note("a network", 201, send(&demo, "POST", "/network/v2.0/networks", json!({"network": {"name": "audited"}})));
    let network = format!("/network/v2.0/networks/{}", network["network"]["id"].as_str().unwrap());
    calls.note("the same name", 200, send(&demo, "PUT", &network, json!({"network": {"name": "audited"}})));
    calls.note("a tag", 201, bare(&demo, "PUT", &format!("{network}/tags/blue")));
    calls.note("the same tag", 201, bare(&demo, "PUT", &format!("{network}/tags/blue")));
    let key = json!({"keypair": {"name": "audited"}});
    calls.note("a key", 200, send(&demo, "POST", "/compute/v2.1/os-keypairs", key.clone()));
    calls.note("a taken name", 409, send(&demo, "POST", "/compute/v2.1/os-keypairs", key));
    calls.note("an invitation", 201, send(&admin, "POST", "/strata/v1/invitations", json!({"invitation": {"host": "audited"}})));
    calls.note("another's call", 403, send(&demo, "POST", "/v3/users", json!({"user": {"name": "x"}})));
    calls.note("a method that isn't there", 405, bare(&demo, "DELETE", "/network/v2.0/networks"));
    calls.note("a path that isn't there", 404, bare(&demo, "POST", "/nowhere"));
    let looked = [demo.get("/network/v2.0/networks"), demo.get("/v3/auth/projects"), demo.get("/nowhere")];

    // Every route that changes something, asked for nothing and by nobody.
    let nobody = Api { token: String::new(), ..admin.clone() };
    for route in strata_api::frame::app::routes().all() {
        if matches!(route.method.as_str(), "GET" | "HEAD" | "OPTIONS") || route.path.ends_with("/auth/tokens") {
            continue;
        }
        let id = "00000000-0000-0000-0000-00000000000f";
        let path = route.path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/");
        let path = format!("{}{path}", crate::policy::prefix(route.service));
        for api in [&admin, &nobody] {
            let answer = send(api, route.method.as_str(), &path, json!({}));
            calls.walked(&format!("{} {path}", route.method), &answer);
        }
    }
    assert!(calls.0.len() > 200, "only {} calls", calls.0.len());

    // A client that does not wait for its answer.
    let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "demo", "domain": {"id": "default"}, "password": "hung-up"}}}}});
    let body = body.to_string();
    let ask = format!("POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(("127.0.0.1", cloud.port)).unwrap();
    stream.write_all(ask.as_bytes()).unwrap();
    drop(stream);

    eventually("each call has one record", Duration::from_secs(10), || {
        let trail = cloud.tool(&["audit", "list", "--limit", "2000"]);
        let wrong = |id: &String| Some(trail.matches(id.as_str()).count()).filter(|n| *n != 1);
        let wrong: Vec<String> = calls.0.iter().filter_map(|(id, what)| wrong(id).map(|n| format!("{n} of {id}: {what}"))).collect();
        for look in &looked {
            let id = look.header("x-openstack-request-id").unwrap();
            assert!(!trail.contains(id), "reading left a record");
        }
        match () {
            () if !wrong.is_empty() => Err(wrong.join("\n")),
            () if !trail.contains("499 The client went away") => Err("the call that was given up has none".into()),
            () => Ok(()),
        }
    });
    let trail = cloud.tool(&["audit", "list", "--limit", "2000"]);
    let of = |what: &str| {
        let id = calls.0.iter().find(|(_, w)| w.starts_with(what)).unwrap().0;
        trail.lines().find(|l| l.contains(id)).unwrap()
    };
    assert!(of("a login →").contains("demo from 127.0.0.1  POST /v3/auth/tokens  201"), "{}", of("a login →"));
    assert!(of("a wrong password").contains("nobody from 127.0.0.1  POST /v3/auth/tokens  401"), "{}", of("a wrong password"));
    assert!(of("the same grant").contains("admin from 127.0.0.1  PUT /v3/projects/"), "{}", of("the same grant"));
    assert!(of("a change of password").contains("audited from 127.0.0.1"), "{}", of("a change of password"));

    // In SQL as well.
    let read_url = std::fs::read_to_string(cloud.data.join("read-url")).expect("the reader's address");
    let ids = calls.0.keys().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let count = format!("SELECT count(*), count(DISTINCT request_id) FROM read.audit_trail WHERE request_id IN ({ids})");
    eventually("SQL shows each call once", Duration::from_secs(10), || {
        let shown = std::process::Command::new("psql").args(["-XAt", "-c", &count, read_url.trim()]).output().expect("psql is installed");
        let (shown, all) = (text(&shown.stdout), calls.0.len());
        if shown.trim() == format!("{all}|{all}") { Ok(()) } else { Err(format!("{} of {all}", shown.trim())) }
    });

    // What was recorded in the last moment is not lost when the cloud is stopped in an orderly way.
    let last = authenticate(cloud.port, "demo", &password, "demo").unwrap();
    cloud.tool(&["down"]);
    assert!(cloud.strata(&["up"]).status.success());
    let trail = cloud.tool(&["audit", "list", "--limit", "2000"]);
    assert!(trail.contains(last.header("x-openstack-request-id").unwrap()), "a record was lost by stopping");
}
