//! Two replicas on one log: whatever one has answered, the other shows; what both are asked at once happens once.

use crate::cloud::{Cloud, eventually, free_port, signal};
use crate::http::Api;
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Replica(pub Child);
impl Drop for Replica {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

#[test]
fn two_replicas_are_one_cloud() {
    let cloud = Cloud::start(&[]);
    let port = free_port();
    let child = Command::new(crate::cloud::STRATA)
        .args(["serve", "--services", "api,conductor", "--port", &port.to_string(), "--data"])
        .arg(&cloud.data)
        .env("STRATA_PROCESS_OF", &cloud.data)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let _replica = Replica(child);
    let one = cloud.api("demo");
    // The same token is good on both.
    let two = Api { port, ..one.clone() };
    eventually("the second replica answers", Duration::from_secs(30), || match two.send("GET", "/v3", None) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // Read your writes, on the other one.
    for n in 0..30 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let made = writer.post("/network/v2.0/networks", json!({"network": {"name": format!("r{n}")}})).expect(201).json();
        let id = made["network"]["id"].as_str().unwrap();
        assert_eq!(reader.get(&format!("/network/v2.0/networks/{id}")).status, 200, "made by one, unknown to the other");
        assert_eq!(reader.delete(&format!("/network/v2.0/networks/{id}")).status, 204);
        assert_eq!(writer.get(&format!("/network/v2.0/networks/{id}")).status, 404, "deleted by one, still known to the other");
    }

    // One name, asked of both at once: one gets it.
    for n in 0..10 {
        let ask =
            |api: &Api| api.send("POST", "/compute/v2.1/os-keypairs", Some(&json!({"keypair": {"name": format!("k{n}")}}))).unwrap().status;
        let (a, b) = std::thread::scope(|s| {
            let a = s.spawn(|| ask(&one));
            let b = s.spawn(|| ask(&two));
            (a.join().unwrap(), b.join().unwrap())
        });
        let mut both = [a, b];
        both.sort_unstable();
        assert_eq!(both, [200, 409], "the same name was taken twice, or never");
    }

    // A revoked token is void on both.
    let other = cloud.api("demo");
    let revoked = one.send_as("DELETE", "/v3/auth/tokens", &format!("X-Subject-Token: {}\r\n", other.token), b"").unwrap();
    assert_eq!(revoked.status, 204);
    assert_eq!(Api { port, ..other }.get("/v3/auth/projects").status, 401);

    let replay = cloud.tool(&["replay", "--verify"]);
    assert_eq!(replay.matches("the same state").count(), 2, "{replay}");
}
