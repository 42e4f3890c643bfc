//! Strict bodies: broken JSON, an unknown field, a wrong type or a value out of range is a 400 that names the field.

use super::{Fault, Service};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The body as it came.
pub enum Raw {
    Read(bytes::Bytes),
    /// Taken once; the lock makes it shareable, it is never waited for.
    Stream(std::sync::Mutex<axum::body::Body>),
}

/// The JSON object of a body.
pub(super) fn object(service: Service, bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let broken = |why: String| match service {
        Service::Compute => Fault::bad_request(format!("Malformed request body: {why}")),
        Service::Identity => Fault::bad_request(format!(
            "Expecting to find valid JSON in request body. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error. ({why})"
        )),
        _ => Fault::bad_request(format!("The request body is malformed: {why}")),
    };
    if bytes.is_empty() {
        return Err(broken("it is empty, and JSON was expected".into()));
    }
    if std::str::from_utf8(bytes).is_err() {
        return Err(broken("it is not valid UTF-8".into()));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(broken("a JSON object was expected".into())),
        Err(e) => Err(broken(e.to_string())),
    }
}

/// A typed value out of JSON. Types that refuse unknown fields (`#[serde(deny_unknown_fields)]`) make the body strict.
pub fn typed<T: DeserializeOwned>(service: Service, within: &str, value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let path = if path == "." { within.to_owned() } else { path };
        let why = e.into_inner().to_string();
        if let Some(rest) = why.strip_prefix("unknown field `") {
            let field = rest.split('`').next().unwrap_or_default();
            return match service {
                Service::Network => Fault::bad_request(format!("Unrecognized attribute(s) '{field}'")),
                Service::Compute => Fault::bad_request(format!(
                    "Invalid input for field/attribute {within}. Additional properties are not allowed ('{field}' was unexpected)"
                )),
                _ => Fault::bad_request(format!(
                    "Invalid input for field '{within}': Additional properties are not allowed ('{field}' was unexpected)"
                )),
            };
        }
        match service {
            Service::Compute => Fault::bad_request(format!("Invalid input for field/attribute {path}. {why}")),
            Service::Network => Fault::bad_request(format!("Invalid input for {path}. Reason: {why}.")).with_kind("HTTPBadRequest"),
            _ => Fault::bad_request(format!("Invalid input for field '{path}': {why}")),
        }
    })
}
