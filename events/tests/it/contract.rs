//! What is published is what is written and read.

use crate::made::{self, Choices};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use strata_events::{Event, json_schemas};

fn room() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema/events")
}
fn blessing() -> bool {
    std::env::var_os("STRATA_BLESS").is_some()
}

/// Each kind with its aggregate's schema.
fn aggregates() -> Vec<(&'static str, Value)> {
    json_schemas().into_iter().map(|(kind, schema)| (kind, serde_json::to_value(schema).unwrap())).collect()
}

/// Every event type with its kind and its aggregate's schema.
fn types() -> Vec<(&'static str, &'static str, Value)> {
    let aggregates = aggregates();
    let schema = |kind: &str| aggregates.iter().find(|(k, _)| *k == kind).map(|(_, s)| s.clone()).unwrap();
    Event::CATALOG.iter().flat_map(|(kind, types)| types.iter().map(move |t| (*kind, *t))).map(|(k, t)| (k, t, schema(k))).collect()
}

/// The published schema of one event: its body, with the definitions that it needs.
fn published(kind: &str, type_name: &str, aggregate: &Value) -> Value {
    let body = made::variant(aggregate, type_name);
    let mut needed = Map::new();
    let mut open = vec![body.clone()];
    while let Some(part) = open.pop() {
        match part {
            Value::Array(all) => open.extend(all),
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(|r| r.as_str()?.strip_prefix("#/$defs/"))
                    && !needed.contains_key(name)
                {
                    let definition = aggregate["$defs"][name].clone();
                    needed.insert(name.to_owned(), definition.clone());
                    open.push(definition);
                }
                open.extend(map.into_iter().map(|(_, v)| v));
            }
            _ => {}
        }
    }
    let mut schema = body.clone();
    schema["$schema"] = aggregate["$schema"].clone();
    schema["title"] = json!(type_name);
    schema["x-stream-kind"] = json!(kind);
    schema["x-schema-version"] = json!(1);
    if !needed.is_empty() {
        schema["$defs"] = Value::Object(needed);
    }
    schema
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn every_event_s_schema_is_published_and_no_other() {
    let dir = room();
    let mut expected: Vec<String> = vec![];
    let mut wrong = vec![];
    std::fs::create_dir_all(&dir).unwrap();
    for (kind, type_name, aggregate) in types() {
        let file = format!("{type_name}.1.json");
        let schema = pretty(&published(kind, type_name, &aggregate));
        expected.push(file.clone());
        if blessing() {
            std::fs::write(dir.join(&file), &schema).unwrap();
        } else if std::fs::read_to_string(dir.join(&file)).ok() != Some(schema) {
            wrong.push(file);
        }
    }
    for entry in std::fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") && !expected.contains(&name) {
            if blessing() {
                std::fs::remove_file(dir.join(&name)).unwrap();
            } else {
                wrong.push(format!("{name} (of no event)"));
            }
        }
    }
    assert!(wrong.is_empty(), "schema/events differs from the code; if that is meant, bless it (STRATA_BLESS=1): {wrong:#?}");
}

#[test]
fn every_event_has_a_recorded_sample_that_is_still_read_and_written_the_same() {
    let dir = room().join("samples");
    std::fs::create_dir_all(&dir).unwrap();
    let mut wrong = vec![];
    for (kind, type_name, aggregate) in types() {
        let path = dir.join(format!("{type_name}.1.json"));
        if blessing() && !path.exists() {
            let body = made::body(&aggregate, type_name, &mut Choices([].iter())).to_string();
            let event = Event::decode(kind, type_name, 1, &body).unwrap_or_else(|e| panic!("{e}\nmade: {body}"));
            let body: Value = serde_json::from_str(&event.encode()).unwrap();
            let sample = json!({ "kind": kind, "type": type_name, "schema_version": 1, "body": body });
            std::fs::write(&path, pretty(&sample)).unwrap();
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            wrong.push(format!("{type_name} has no sample; record one (STRATA_BLESS=1)"));
            continue;
        };
        let sample: Value = serde_json::from_str(&text).unwrap();
        let body = sample["body"].to_string();
        match Event::decode(sample["kind"].as_str().unwrap(), type_name, sample["schema_version"].as_u64().unwrap() as u16, &body) {
            Err(e) => wrong.push(format!("the sample of {type_name} can't be read any more: {e}")),
            Ok(event) => {
                let again: Value = serde_json::from_str(&event.encode()).unwrap();
                if again != sample["body"] {
                    wrong.push(format!("the sample of {type_name} is written otherwise now: {again}"));
                }
                assert_eq!((event.kind(), event.type_name()), (kind, type_name));
            }
        }
    }
    let known: Vec<String> = types().iter().map(|(_, t, _)| format!("{t}.1.json")).collect();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !known.contains(&name) {
            wrong.push(format!("samples/{name} is of an event that is not known any more: logs that hold it can't be read"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_body_with_a_field_missing_is_refused() {
    let create = r#"{"id":"00000000-0000-0000-0000-000000000001","reason":"x"}"#;
    assert!(Event::decode("image", "ImageUploadFailed", 1, create).is_ok());
    assert!(Event::decode("image", "ImageUploadFailed", 1, r#"{"id":"00000000-0000-0000-0000-000000000001"}"#).is_err());
    assert!(Event::decode("image", "ImageUploadFailed", 2, create).is_err());
    assert!(Event::decode("image", "ImageForgotten", 1, create).is_err());
    assert!(Event::decode("moon", "ImageUploadFailed", 1, create).is_err());
    assert!(Event::decode("image", "ImageUploadFailed", 1, &format!("{create} ")).is_ok());
    assert!(Event::decode("image", "ImageUploadFailed", 1, &format!("{create}{create}")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read_back_the_same(choices in prop::collection::vec(any::<u64>(), 0..96)) {
        for (kind, type_name, aggregate) in types() {
            let body = made::body(&aggregate, type_name, &mut Choices(choices.iter())).to_string();
            let event = Event::decode(kind, type_name, 1, &body);
            let event = event.unwrap_or_else(|e| panic!("a body that its schema allows is not read: {e}\n{body}"));
            let written = event.encode();
            let again = Event::decode(kind, type_name, event.schema_version(), &written);
            let again = again.unwrap_or_else(|e| panic!("what was written is not read: {e}\n{written}"));
            prop_assert_eq!(&again, &event);
            prop_assert_eq!(again.encode(), written);
        }
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,80}", at in any::<prop::sample::Index>()) {
        let types = types();
        let (kind, type_name, _) = &types[at.index(types.len())];
        let _ = Event::decode(kind, type_name, 1, &text);
        let _ = Event::decode(kind, &text, 1, "{}");
    }
}
