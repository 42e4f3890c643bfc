//! JSON patch as glance reads it: `application/openstack-images-v2.1-json-patch` ({"op", "path", "value"}) and the older
//! v2.0 ({"add": path, "value"}). Paths are JSON pointers of one step.

use super::validate;
use crate::frame::Fault;
use serde_json::{Map, Value};
use strata_conductor::decide::image::{Change, Op};

pub const V2_1: &str = "application/openstack-images-v2.1-json-patch";
pub const V2_0: &str = "application/openstack-images-v2.0-json-patch";
/// Changes in one request.
const MAX_CHANGES: usize = 512;

/// The changes that a body asks for.
pub fn changes(content_type: &str, body: &[u8]) -> Result<Vec<Change>, Fault> {
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    let strict_add = match content_type {
        V2_1 => false,
        V2_0 => true,
        _ => return Err(Fault::new(415, format!("Image PATCH expects Content-Type one of: {V2_0}, {V2_1}"))),
    };
    if body.is_empty() {
        return Err(Fault::bad_request("Body expected in request."));
    }
    let broken = |e: &dyn std::fmt::Display| Fault::bad_request(format!("Malformed JSON in request body. ({e})"));
    let text = std::str::from_utf8(body).map_err(|e| broken(&e))?;
    let Value::Array(all) = serde_json::from_str(text).map_err(|e| broken(&e))? else {
        return Err(Fault::bad_request("Request body must be a JSON array of operation objects."));
    };
    if all.len() > MAX_CHANGES {
        return Err(Fault::new(413, format!("At most {MAX_CHANGES} operations are taken in one request.")));
    }
    all.into_iter().map(|one| change(one, strict_add)).collect()
}

fn change(one: Value, strict_add: bool) -> Result<Change, Fault> {
    let Value::Object(mut one) = one else { return Err(Fault::bad_request("Operations must be JSON objects.")) };
    let (op, path) = if strict_add { older(&one)? } else { newer(&one)? };
    let steps = pointer(&path)?;
    let name = steps[0].clone();
    let depth = match (name.as_str(), op) {
        ("locations", Op::Add | Op::Remove) => 2,
        _ => 1,
    };
    if steps.len() != depth {
        return Err(Fault::bad_request(format!("Invalid JSON pointer for this resource: '/{}'", steps.join("/"))));
    }
    let value = match op {
        Op::Remove => Value::Null,
        _ => one.remove("value").ok_or_else(|| {
            let op = if op == Op::Add { "add" } else { "replace" };
            Fault::bad_request(format!("Operation \"{op}\" requires a member named \"value\"."))
        })?,
    };
    validate::changeable(&name)?;
    if op != Op::Remove {
        validate::value(&name, &value)?;
        validate::property(&name)?;
        if name == "owner" {
            validate::owner(&value)?;
        }
    }
    Ok(Change { op, name, value, strict_add })
}

const OPS: [(&str, Op); 3] = [("add", Op::Add), ("remove", Op::Remove), ("replace", Op::Replace)];

fn newer(one: &Map<String, Value>) -> Result<(Op, String), Fault> {
    let names = "add, remove, replace";
    let op = one.get("op").ok_or_else(|| {
        Fault::bad_request(format!("Unable to find `op` in JSON Schema change. It must be one of the following: {names}."))
    })?;
    let found = OPS.iter().find(|(name, _)| op == name);
    let (_, op) = found.ok_or_else(|| {
        let op = op.as_str().map_or_else(|| op.to_string(), str::to_owned);
        Fault::bad_request(format!("Invalid operation: `{op}`. It must be one of the following: {names}."))
    })?;
    let path = one.get("path").and_then(Value::as_str);
    let path = path.ok_or_else(|| Fault::bad_request("Unable to find 'path' in JSON Schema change"))?;
    Ok((*op, path.to_owned()))
}

fn older(one: &Map<String, Value>) -> Result<(Op, String), Fault> {
    let mut given = OPS.iter().filter_map(|(name, op)| one.get(*name).map(|path| (*op, path)));
    match (given.next(), given.next()) {
        (Some((op, Value::String(path))), None) => Ok((op, path.clone())),
        (Some(_), Some(_)) => {
            Err(Fault::bad_request("Operation objects must contain only one member named \"add\", \"remove\", or \"replace\"."))
        }
        _ => Err(Fault::bad_request("Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".")),
    }
}

/// The steps of a JSON pointer, unescaped; at least one.
fn pointer(pointer: &str) -> Result<Vec<String>, Fault> {
    let bad = |why: &str| Fault::bad_request(format!("Pointer `{pointer}` {why}."));
    let Some(rest) = pointer.strip_prefix('/') else { return Err(bad("does not start with \"/\"")) };
    let steps: Vec<&str> = rest.split('/').collect();
    if rest.is_empty() {
        return Err(bad("does not contains valid token"));
    }
    if rest.ends_with('/') {
        return Err(bad("end with \"/\""));
    }
    if steps.iter().any(|s| s.trim().is_empty()) {
        return Err(bad("contains adjacent \"/\""));
    }
    let escapes_fine = |s: &str| s.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if !escapes_fine(rest) {
        return Err(bad("contains \"~\" not part of a recognized escape sequence"));
    }
    Ok(steps.iter().map(|s| s.replace("~1", "/").replace("~0", "~").trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(content_type: &str, change: Value) -> Result<Change, Fault> {
        changes(content_type, json!([change]).to_string().as_bytes()).map(|mut all| all.remove(0))
    }

    #[test]
    fn both_forms_say_the_same() {
        let new = one(V2_1, json!({"op": "add", "path": "/os_distro", "value": "x"})).unwrap();
        let old = one(V2_0, json!({"add": "/os_distro", "value": "x"})).unwrap();
        assert_eq!((new.op, &new.name, &new.value), (old.op, &old.name, &old.value));
        assert!(old.strict_add && !new.strict_add);
    }

    #[test]
    fn escapes_in_a_pointer_are_undone() {
        let change = one(V2_1, json!({"op": "add", "path": "/a~1b~0c~01", "value": "x"})).unwrap();
        assert_eq!(change.name, "a/b~c~1");
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for bad in [
            json!({"op": "copy", "path": "/a", "value": "x"}),
            json!({"path": "/a", "value": "x"}),
            json!({"op": "add", "value": "x"}),
            json!({"op": "add", "path": "a", "value": "x"}),
            json!({"op": "add", "path": "/", "value": "x"}),
            json!({"op": "add", "path": "/a/", "value": "x"}),
            json!({"op": "add", "path": "/a//b", "value": "x"}),
            json!({"op": "add", "path": "/a~2", "value": "x"}),
            json!({"op": "add", "path": "/a~", "value": "x"}),
            json!({"op": "add", "path": "/tags/-", "value": "x"}),
            json!({"op": "replace", "path": "/name"}),
            json!({"op": "replace", "path": "/name", "value": 1}),
            json!("add"),
            json!({"op": 1, "path": "/a"}),
        ] {
            assert_eq!(one(V2_1, bad.clone()).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(changes("application/json", b"[]").unwrap_err().status, 415);
        assert_eq!(changes(V2_1, b"{}").unwrap_err().status, 400);
        assert_eq!(changes(V2_1, b"[\"\xff\"]").unwrap_err().status, 400);
        assert_eq!(changes(V2_1, b"").unwrap_err().status, 400);
    }

    #[test]
    fn what_the_service_measures_is_read_only() {
        for name in ["status", "checksum", "size", "virtual_size", "id", "os_hash_value", "created_at"] {
            let fault = one(V2_1, json!({"op": "replace", "path": format!("/{name}"), "value": "x"})).unwrap_err();
            assert_eq!((fault.status, fault.message), (403, format!("Attribute '{name}' is read-only.")));
        }
    }
}
