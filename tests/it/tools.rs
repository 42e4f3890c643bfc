//! The operator's tools on a cloud in which something happened.

use crate::cloud::{Cloud, eventually, text as cloud_text};
use crate::compute::ground;
use serde_json::Value;
use std::time::Duration;

#[test]
fn the_log_can_be_read_verified_and_replayed() {
    let cloud = Cloud::start(&["--simulated", "2"]);
    ground(&cloud, "tool");
    let mut demo = cloud.client("strata-demo");
    let server = demo.json("server create tool --image tool --flavor m1.tiny --network tool --wait");
    let id = server["id"].as_str().expect("an id");
    demo.fails("server unpause tool", "409");

    // Every line of --json is an event; positions have no gap.
    let lines = cloud.tool(&["events", "--json"]);
    let events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect();
    assert!(events.iter().map(|e| e["position"].as_u64()).eq((1..=events.len() as u64).map(Some)), "positions have gaps");
    let of_server = cloud.tool(&["events", "--stream", &format!("instance/{id}")]);
    for step in ["InstanceRequested", "InstancePlaced", "InstanceStarted"] {
        assert!(of_server.contains(step), "{step} is missing:\n{of_server}");
    }
    assert_eq!(cloud.tool(&["events", "--from", &(events.len() as u64 + 1000).to_string()]), "");

    let timeline = cloud.tool(&["timeline", "server", "tool"]);
    for step in ["InstanceRequested", "by demo", "InstancePlaced", "on sim-", "InstanceStarted", "PortPlugged"] {
        assert!(timeline.contains(step), "{step} is missing:\n{timeline}");
    }
    let unknown = cloud.strata(&["timeline", "server", "nobody"]);
    assert!(!unknown.status.success());

    assert!(cloud.tool(&["audit", "verify"]).contains("each following from the one before it"));
    let audit = cloud.tool(&["audit", "list"]);
    assert!(audit.contains("InstanceRequested") && audit.contains("409"), "the audit lacks a call:\n{audit}");
    let replay = cloud.tool(&["replay", "--verify"]);
    assert!(replay.contains("the same state") && replay.contains("plans, each as the log has it"), "{replay}");
    let status = cloud.tool(&["status"]);
    assert!(status.contains("sim-") && status.contains("everything is as it should be"), "{status}");

    // In SQL: the reader sees what is live, and nothing of the log or of secrets; dropped, the schema comes back.
    let sql = |url: String, text: &str| {
        let done = std::process::Command::new("psql").args(["-XAt", "-v", "ON_ERROR_STOP=1", "-c", text, &url]).output();
        let done = done.expect("psql is installed");
        if done.status.success() { Ok(cloud_text(&done.stdout)) } else { Err(cloud_text(&done.stderr)) }
    };
    let read_url = std::fs::read_to_string(cloud.data.join("read-url")).expect("the reader's address");
    let status = || sql(read_url.clone(), "SELECT status, host FROM read.instance WHERE name = 'tool'");
    let shown = || match status() {
        Ok(row) if row.starts_with("ACTIVE|sim-") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the read schema shows the server", Duration::from_secs(10), shown);
    for forbidden in ["SELECT * FROM strata.events", "SELECT * FROM strata.keys", "DELETE FROM read.resources"] {
        assert!(sql(read_url.clone(), forbidden).is_err_and(|e| e.contains("permission denied")), "the reader may: {forbidden}");
    }
    let password = std::fs::read_to_string(cloud.data.join("secrets/postgres-superuser")).expect("the superuser's password");
    let superuser = format!("host={} user=postgres password={password} dbname=strata", cloud.data.join("run/pg").display());
    sql(superuser, "DROP SCHEMA read CASCADE").expect("the superuser may drop it");
    eventually("the read schema comes back", Duration::from_secs(20), shown);

    // The keys can be rotated: tokens stay valid, and new ones come.
    let api = cloud.api("demo");
    cloud.tool(&["keys", "rotate"]);
    assert_eq!(api.get("/compute/v2.1/servers").status, 200);
    assert_eq!(cloud.api("demo").get("/compute/v2.1/servers").status, 200);
}

/// A change to an event behind the log's back is found. It takes the superuser: the services' role is refused.
#[test]
fn a_changed_event_is_found_and_the_services_cannot_change_one() {
    let cloud = Cloud::start(&[]);
    let psql = |user: &str, secret: &str, sql: &str| {
        let password = std::fs::read_to_string(cloud.data.join("secrets").join(secret)).expect("the role's password");
        std::process::Command::new("psql")
            .args(["-X", "-U", user, "-d", "strata", "-v", "ON_ERROR_STOP=1", "-c", sql, "-h"])
            .arg(cloud.data.join("run/pg"))
            .env("PGPASSWORD", password)
            .output()
            .expect("psql is installed")
    };
    let change = "UPDATE strata.events SET request_id = 'req-forged' WHERE position = 3";
    let refused = psql("strata_service", "postgres-service", change);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied"), "{refused:?}");
    let refused = psql("strata_service", "postgres-service", "DELETE FROM strata.events WHERE position = 3");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied"), "{refused:?}");
    assert!(psql("postgres", "postgres-superuser", change).status.success());
    let verdict = cloud.strata(&["audit", "verify"]);
    assert!(!verdict.status.success());
    assert!(String::from_utf8_lossy(&verdict.stderr).contains("at position 3"), "{verdict:?}");
}
