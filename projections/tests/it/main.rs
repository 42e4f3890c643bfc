//! A log that a running cloud wrote, folded by this version of the program. Whatever the events become, this one must go on
//! being read: it stands for the logs that are out there. Record a new one with `strata events --json`, beside it, never over it.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use strata_events::{Actor, Event, Recorded, Timestamp};
use strata_projections::Cloud;

/// The recorded logs, by file name.
fn logs() -> Vec<(String, Vec<Recorded>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/events/logs");
    let files = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    let read = files.filter(|p| p.extension().is_some_and(|e| e == "jsonl")).map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_name().unwrap().to_string_lossy().into_owned(), text.lines().map(recorded).collect())
    });
    read.collect()
}

fn recorded(line: &str) -> Recorded {
    let row: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} is missing: {line}"));
    let kind = row["stream"]["kind"].as_str().unwrap();
    let version = u16::try_from(row["schema_version"].as_u64().unwrap()).unwrap();
    let event = Event::decode(kind, text("type"), version, &row["body"].to_string());
    Recorded {
        position: row["position"].as_u64().unwrap(),
        version: u32::try_from(row["version"].as_u64().unwrap()).unwrap(),
        recorded_at: Timestamp::parse(text("recorded_at")).unwrap(),
        actor: serde_json::from_value::<Actor>(row["actor"].clone()).unwrap(),
        request_id: text("request_id").to_owned(),
        caused_by: row["caused_by"].as_u64(),
        event: event.unwrap_or_else(|e| panic!("{e}: {line}")),
    }
}

fn fold(mut cloud: Cloud, events: &[Recorded]) -> Cloud {
    for event in events {
        cloud.apply(event).unwrap_or_else(|e| panic!("{e}"));
    }
    cloud
}

#[test]
fn a_recorded_log_is_still_read_and_folded() {
    let logs = logs();
    assert!(!logs.is_empty(), "schema/events/logs holds no recorded log");
    for (name, events) in logs {
        let cloud = fold(Cloud::default(), &events);
        assert_eq!(cloud.position, events.len() as u64, "{name}");
        let kinds: BTreeSet<&str> = events.iter().map(|e| e.event.kind()).collect();
        for kind in ["assignment", "image", "instance", "network", "port", "project", "security_group", "subnet", "user"] {
            assert!(kinds.contains(kind), "{name} has no event of the kind {kind}: {kinds:?}");
        }
    }
}

#[test]
fn folding_on_from_a_snapshot_gives_the_same_as_folding_from_the_beginning() {
    for (name, events) in logs() {
        let whole = fold(Cloud::default(), &events);
        for at in [0, events.len() / 3, events.len() / 2, events.len() - 1] {
            let snapshot = fold(Cloud::default(), &events[..at]).to_snapshot();
            let cloud = fold(Cloud::from_snapshot(&snapshot).unwrap(), &events[at..]);
            assert!(cloud == whole && cloud.digest() == whole.digest(), "{name}: a snapshot at {at} leads elsewhere");
        }
    }
}

#[test]
fn an_event_out_of_its_place_stops_the_fold_and_names_the_position() {
    let (_, events) = logs().remove(0);
    let mut cloud = fold(Cloud::default(), &events[..events.len() / 2]);
    let skipped = &events[events.len() / 2 + 1];
    let error = cloud.apply(skipped).unwrap_err();
    assert_eq!(error.position, skipped.position);
    let mut cloud = fold(Cloud::default(), &events[..events.len() / 2]);
    let again = &events[events.len() / 2 - 1];
    assert_eq!(cloud.apply(again).unwrap_err().position, again.position);
}

/// Whatever event begins to name a secret: `Cloud::secrets` must know of it, or the sweep removes the secret under it.
#[test]
fn the_secrets_in_use_are_all_that_events_can_name() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/events");
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
    let naming = files.filter(|p| std::fs::read_to_string(p).unwrap().contains("SecretId"));
    let naming: BTreeSet<String> = naming.map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let known = ["CredentialCreated.1", "CredentialUpdated.1", "InstanceRequested.1"];
    assert_eq!(naming, known.map(String::from).into(), "see projections/src/cloud/secret.rs");
}
