//! OpenStack's documents. Each version is what it was when Nova named it; `latest` is the last.

use crate::network_data;
use crate::{Document, Guest};
use base64::Engine;
use serde_json::{Map, Value, json};

/// The versions, oldest first.
pub const VERSIONS: [Version; 9] = [
    Version::FOLSOM,
    Version::GRIZZLY,
    Version::HAVANA,
    Version::LIBERTY,
    Version::NEWTON_ONE,
    Version::NEWTON_TWO,
    Version::OCATA,
    Version::ROCKY,
    Version::VICTORIA,
];

/// A version: the day on which it became what it is. Later days compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(&'static str);

impl Version {
    const FOLSOM: Version = Version("2012-08-10");
    const GRIZZLY: Version = Version("2013-04-04");
    const HAVANA: Version = Version("2013-10-17");
    const LIBERTY: Version = Version("2015-10-15");
    const NEWTON_ONE: Version = Version("2016-06-30");
    const NEWTON_TWO: Version = Version("2016-10-06");
    /// Tells VLANs of tagged devices, ROCKY which of them are trusted; there are no such devices.
    const OCATA: Version = Version("2017-02-22");
    const ROCKY: Version = Version("2018-08-27");
    const VICTORIA: Version = Version("2020-10-14");

    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" { VERSIONS.last().copied() } else { VERSIONS.iter().find(|v| v.0 == text).copied() }
    }
}

/// The names of the versions, as `/openstack` lists them.
pub(crate) fn names() -> Vec<&'static str> {
    VERSIONS.iter().map(|v| v.0).chain(["latest"]).collect()
}

/// The documents that a version has, in Nova's order.
fn documents(guest: &Guest<'_>, version: Version) -> Vec<&'static str> {
    let all = [
        ("meta_data.json", Version::FOLSOM, true),
        ("user_data", Version::FOLSOM, guest.plan.user_data.is_some() || guest.user_data.is_some()),
        ("password", Version::GRIZZLY, true),
        ("vendor_data.json", Version::HAVANA, true),
        ("network_data.json", Version::LIBERTY, true),
        ("vendor_data2.json", Version::NEWTON_TWO, true),
    ];
    all.into_iter().filter(|(_, since, there)| *there && version >= *since).map(|(name, ..)| name).collect()
}

/// What is under `/openstack`.
pub(crate) fn lookup(guest: &Guest<'_>, path: &[&str]) -> Option<Document> {
    let [version, rest @ ..] = path else { return Some(Document::list(names())) };
    let version = Version::parse(version)?;
    let [name] = rest else { return rest.is_empty().then(|| Document::list(documents(guest, version))) };
    let name = documents(guest, version).into_iter().find(|n| n == name)?;
    Some(match name {
        "meta_data.json" => Document::Json(meta_data(guest, version)),
        "user_data" => guest.user_data.map_or(Document::UserData, |u| Document::Bytes(u.to_vec())),
        "password" => Document::Password,
        "vendor_data.json" => Document::Json(json!({})),
        "network_data.json" => Document::Json(network_data::document(guest.plan)),
        // Nova's default: one provider, whose file is empty.
        _ => Document::Json(json!({"static": {}})),
    })
}

fn meta_data(guest: &Guest<'_>, version: Version) -> Value {
    let plan = guest.plan;
    let mut document = Map::new();
    let mut say = |name: &str, value: Value| document.insert(name.into(), value);
    say("uuid", json!(plan.id));
    if !plan.metadata.is_empty() {
        say("meta", json!(plan.metadata));
    }
    if let Some((name, key)) = guest.key() {
        say("public_keys", json!({name: key}));
        let kind = if key.trim_start().starts_with("-----BEGIN") { "x509" } else { "ssh" };
        say("keys", json!([{"name": name, "type": kind, "data": key}]));
    }
    say("hostname", json!(guest.hostname()));
    say("name", json!(plan.name));
    say("launch_index", json!(plan.launch_index));
    say("availability_zone", json!(plan.zone));
    if let Some(seed) = guest.seed.filter(|_| version >= Version::GRIZZLY) {
        say("random_seed", json!(base64::engine::general_purpose::STANDARD.encode(seed)));
    }
    if version >= Version::LIBERTY {
        say("project_id", json!(plan.project));
    }
    if version >= Version::NEWTON_ONE {
        say("devices", json!([]));
    }
    if version >= Version::VICTORIA {
        say("dedicated_cpus", json!([]));
    }
    Value::Object(document)
}

/// The files of a config drive.
pub(crate) fn files(guest: &Guest<'_>) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![];
    for version in names() {
        let Some(listed) = Version::parse(version).map(|v| documents(guest, v)) else { continue };
        for name in listed {
            if let Some(bytes) = lookup(guest, &[version, name]).and_then(Document::bytes) {
                files.push((format!("openstack/{version}/{name}"), bytes));
            }
        }
    }
    files
}
