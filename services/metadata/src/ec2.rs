//! EC2's tree, as far as Nova has it. A directory lists its entries, those that are directories with a slash.

use crate::{Document, Guest};
use serde_json::{Map, Value, json};

/// The versions, oldest first.
pub const VERSIONS: [&str; 9] =
    ["1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04"];

/// How a directory is listed where it isn't by its name with a slash: the one of a key.
const LISTED_AS: &str = "_name";

/// Where a version stands in the row.
fn rank(version: &str) -> Option<usize> {
    if version == "latest" { Some(VERSIONS.len() - 1) } else { VERSIONS.iter().position(|v| *v == version) }
}

/// What is under a version's `meta-data`.
fn meta_data(guest: &Guest<'_>, version: usize) -> Value {
    let plan = guest.plan;
    let since = |v: &str| rank(v).is_some_and(|v| version >= v);
    let mut tree = Map::new();
    let mut say = |name: &str, value: Value| tree.insert(name.into(), value);
    say("ami-id", json!(format!("ami-{}", short(plan.image.as_ref().map(|i| i.id.to_string())))));
    say("ami-launch-index", json!(plan.launch_index));
    say("ami-manifest-path", json!("FIXME"));
    say("instance-id", json!(format!("i-{}", short(Some(plan.id.to_string())))));
    say("hostname", json!(guest.hostname()));
    say("local-ipv4", json!(guest.local_ipv4().map(|ip| ip.to_string()).unwrap_or_default()));
    say("reservation-id", json!(plan.reservation));
    say("security-groups", json!(plan.security_groups));
    if let Some((name, key)) = guest.key() {
        say("public-keys", json!({"0": {LISTED_AS: format!("0={name}"), "openssh-key": key}}));
    }
    if since("2007-01-19") {
        say("local-hostname", json!(guest.hostname()));
        say("public-hostname", json!(guest.hostname()));
        say("public-ipv4", json!(""));
    }
    if since("2007-08-29") {
        say("instance-type", json!(plan.size.name));
    }
    if since("2007-12-15") {
        say("block-device-mapping", json!({"ami": "vda", "root": "/dev/vda"}));
    }
    if since("2008-02-01") {
        say("placement", json!({"availability-zone": plan.zone}));
    }
    if since("2008-09-01") {
        say("instance-action", json!("none"));
    }
    Value::Object(tree)
}

/// EC2's ids have eight hexadecimal digits.
fn short(id: Option<String>) -> String {
    id.and_then(|id| id.get(..8).map(str::to_string)).unwrap_or_else(|| "00000000".into())
}

/// What is under `/`, or under `/ec2`.
pub(crate) fn lookup(guest: &Guest<'_>, path: &[&str]) -> Option<Document> {
    let [version, rest @ ..] = path else { return Some(Document::list(VERSIONS.into_iter().chain(["latest"]).collect())) };
    let version = rank(version)?;
    let has_user_data = guest.plan.user_data.is_some() || guest.user_data.is_some();
    match rest {
        [] => Some(Document::list(["meta-data/"].into_iter().chain(has_user_data.then_some("user-data")).collect())),
        ["user-data"] if has_user_data => Some(guest.user_data.map_or(Document::UserData, |u| Document::Bytes(u.to_vec()))),
        ["meta-data", rest @ ..] => {
            let tree = meta_data(guest, version);
            rest.iter()
                .try_fold(&tree, |at, name| at.as_object()?.get(*name).filter(|_| *name != LISTED_AS))
                .map(|at| Document::Text(text(at)))
        }
        _ => None,
    }
}

/// A node as it is read over HTTP.
fn text(node: &Value) -> String {
    match node {
        Value::String(s) => s.clone(),
        Value::Array(lines) => lines.iter().map(text).collect::<Vec<_>>().join("\n"),
        Value::Object(entries) => {
            let entries = entries.iter().filter(|(name, _)| *name != LISTED_AS);
            let listed = entries.map(|(name, entry)| match entry {
                Value::Object(inner) => inner.get(LISTED_AS).map_or_else(|| format!("{name}/"), text),
                _ => name.clone(),
            });
            listed.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

/// The files of a config drive: the versions that Nova puts there.
pub(crate) fn files(guest: &Guest<'_>) -> Vec<(String, Vec<u8>)> {
    let mut tree = meta_data(guest, VERSIONS.len() - 1);
    if let Some(key) = tree.pointer_mut("/public-keys/0").and_then(Value::as_object_mut) {
        key.remove(LISTED_AS);
    }
    let mut files = vec![];
    for version in ["2009-04-04", "latest"] {
        if let Some(user_data) = guest.user_data {
            files.push((format!("ec2/{version}/user-data"), user_data.to_vec()));
        }
        files.push((format!("ec2/{version}/meta-data.json"), tree.to_string().into_bytes()));
    }
    files
}
