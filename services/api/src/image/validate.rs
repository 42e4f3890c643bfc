//! What a client may say about an image, checked once, here. The sentences are those of glance's schema check.

use crate::frame::Fault;
use serde_json::{Map, Value};
use strata_events::image::{ImageAttributes, Visibility};
use strata_events::{ImageId, ProjectId};

pub const DISK_FORMATS: &[&str] = &["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"];
pub const CONTAINER_FORMATS: &[&str] = &["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"];
const READ_ONLY: &[&str] = &[
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "direct_url",
    "self",
    "file",
    "schema",
    "id",
    "os_hash_algo",
    "os_hash_value",
    "stores",
];
const RESERVED: &[&str] = &["location", "deleted", "deleted_at"];
/// Names that begin so belong to the service.
const RESERVED_PREFIX: &str = "os_glance";

fn unfit(why: impl std::fmt::Display) -> Fault {
    Fault::bad_request(format!("Provided object does not match schema 'image': {why}"))
}

/// Whether an attribute may be named in a change at all.
pub fn changeable(name: &str) -> Result<(), Fault> {
    if READ_ONLY.contains(&name) {
        return Err(Fault::forbidden(format!("Attribute '{name}' is read-only.")));
    }
    reserved(name)
}

fn reserved(name: &str) -> Result<(), Fault> {
    if RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX) {
        return Err(Fault::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    Ok(())
}

fn text<'a>(name: &str, value: &'a Value, max: usize) -> Result<&'a str, Fault> {
    let text = value.as_str().ok_or_else(|| unfit(format!("{value} is not of type 'string' (in {name})")))?;
    if text.chars().count() > max {
        return Err(unfit(format!("the value of {name} is too long: at most {max} characters")));
    }
    if text.contains('\0') {
        return Err(unfit(format!("the value of {name} holds a NUL character")));
    }
    Ok(text)
}

/// Whether a value fits its attribute.
pub fn value(name: &str, value: &Value) -> Result<(), Fault> {
    let one_of = |all: &[&str]| match value {
        Value::Null => Ok(()),
        Value::String(s) if all.contains(&s.as_str()) => Ok(()),
        _ => Err(unfit(format!("{value} is not one of {all:?} (in {name})"))),
    };
    let of_type = |is: bool, kind: &str| if is { Ok(()) } else { Err(unfit(format!("{value} is not of type '{kind}' (in {name})"))) };
    match name {
        "name" if value.is_null() => Ok(()),
        "name" | "owner" => text(name, value, 255).map(drop),
        "visibility" if value.is_null() => of_type(false, "string"),
        "visibility" => one_of(&["community", "public", "private", "shared"]),
        "disk_format" => one_of(DISK_FORMATS),
        "container_format" => one_of(CONTAINER_FORMATS),
        "protected" | "os_hidden" => of_type(value.is_boolean(), "boolean"),
        "min_disk" | "min_ram" => {
            of_type(value.is_i64() || value.is_u64(), "integer")?;
            match value.as_u64() {
                Some(n) if n <= i32::MAX as u64 => Ok(()),
                Some(_) => Err(Fault::bad_request(format!("Invalid value '{value}' for parameter '{name}': Cannot be above {}", i32::MAX))),
                None => Err(Fault::bad_request(format!("Invalid value '{value}' for parameter '{name}': Cannot be a negative value"))),
            }
        }
        "tags" => {
            let tags = value.as_array().ok_or_else(|| unfit(format!("{value} is not of type 'array' (in tags)")))?;
            tags.iter().try_for_each(|t| tag(t).map(drop))
        }
        "locations" => of_type(value.is_array() || value.is_object(), "array"),
        _ => text(name, value, usize::MAX).map(drop),
    }
}

pub fn tag(value: &Value) -> Result<&str, Fault> {
    let tag = text("tags", value, 255)?;
    if tag.is_empty() { Err(unfit("a tag is empty")) } else { Ok(tag) }
}

/// The name of a property.
pub fn property(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.chars().count() > 255 {
        return Err(Fault::bad_request("Custom property should not be greater than 255 characters."));
    }
    if name.chars().any(char::is_control) {
        return Err(unfit("the name of a property holds a control character"));
    }
    reserved(name)
}

/// What an image shall be, out of the body of its creation.
pub struct Wanted {
    pub id: Option<ImageId>,
    pub owner: Option<ProjectId>,
    pub attributes: ImageAttributes,
}

pub fn wanted(body: Map<String, Value>) -> Result<Wanted, Fault> {
    for name in ["direct_url", "self", "file", "schema", "stores"] {
        if body.contains_key(name) {
            return Err(Fault::forbidden(format!("Attribute '{name}' is read-only.")));
        }
    }
    let mut wanted = Wanted {
        id: None,
        owner: None,
        attributes: ImageAttributes {
            name: None,
            visibility: Visibility::Shared,
            protected: false,
            os_hidden: false,
            min_disk: 0,
            min_ram: 0,
            disk_format: None,
            container_format: None,
            tags: vec![],
            properties: Map::new(),
        },
    };
    let a = &mut wanted.attributes;
    for (name, given) in body {
        match name.as_str() {
            "id" => {
                let dashed = text("id", &given, 36)?;
                let id = dashed.parse::<ImageId>().ok().filter(|_| dashed.len() == 36);
                wanted.id = Some(id.ok_or_else(|| unfit(format!("'{dashed}' is not a UUID (in id)")))?);
                continue;
            }
            "locations" => return Err(Fault::forbidden("It's not allowed to add locations if locations are invisible.")),
            name if READ_ONLY.contains(&name) => return Err(Fault::forbidden(format!("Attribute '{name}' is read-only."))),
            name => value(name, &given)?,
        }
        match name.as_str() {
            "name" => a.name = given.as_str().map(str::to_owned),
            "owner" => wanted.owner = Some(owner(&given)?),
            "visibility" => a.visibility = serde_json::from_value(given).map_err(unfit)?,
            "protected" => a.protected = given == Value::Bool(true),
            "os_hidden" => a.os_hidden = given == Value::Bool(true),
            "min_disk" => a.min_disk = given.as_u64().unwrap_or(0),
            "min_ram" => a.min_ram = given.as_u64().unwrap_or(0),
            "disk_format" => a.disk_format = given.as_str().map(str::to_owned),
            "container_format" => a.container_format = given.as_str().map(str::to_owned),
            "tags" => {
                a.tags = serde_json::from_value(given).map_err(unfit)?;
                a.tags.sort();
                a.tags.dedup();
            }
            _ => {
                property(&name)?;
                a.properties.insert(name, given);
            }
        }
    }
    Ok(wanted)
}

/// The project that shall own an image.
pub fn owner(value: &Value) -> Result<ProjectId, Fault> {
    value.as_str().and_then(|s| s.parse().ok()).ok_or_else(|| unfit(format!("{value} is not the id of a project (in owner)")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(value: Value) -> Result<Wanted, Fault> {
        match value {
            Value::Object(map) => wanted(map),
            _ => panic!("an object"),
        }
    }
    fn status(value: Value) -> u16 {
        body(value).map_or_else(|f| f.status, |_| 201)
    }

    #[test]
    fn what_the_service_measures_can_t_be_said_by_a_client() {
        for name in READ_ONLY.iter().filter(|n| **n != "id") {
            assert_eq!(status(json!({*name: "x"})), 403, "{name}");
            assert_eq!(changeable(name).unwrap_err().status, 403, "{name}");
        }
        for name in ["location", "deleted", "deleted_at", "os_glance_import_task", "os_glance_anything"] {
            assert_eq!(status(json!({name: "x"})), 403, "{name}");
            assert_eq!(changeable(name).unwrap_err().status, 403, "{name}");
        }
        assert_eq!(status(json!({"locations": [{"url": "file:///etc/passwd", "metadata": {}}]})), 403);
    }

    #[test]
    fn values_of_another_type_or_too_long_are_refused() {
        for bad in [
            json!({"name": 1}),
            json!({"name": "x".repeat(256)}),
            json!({"name": "a\u{0}b"}),
            json!({"visibility": "secret"}),
            json!({"visibility": null}),
            json!({"protected": "yes"}),
            json!({"min_disk": "1"}),
            json!({"min_ram": -1}),
            json!({"min_disk": 1u64 << 40}),
            json!({"tags": "a"}),
            json!({"tags": ["x".repeat(256)]}),
            json!({"tags": [1]}),
            json!({"disk_format": "exe"}),
            json!({"container_format": ""}),
            json!({"id": "1"}),
            json!({"id": "x".repeat(36)}),
            json!({"custom": 1}),
            json!({"custom": null}),
            json!({"custom": {"a": "b"}}),
            json!({"x".repeat(256): "v"}),
            json!({"a\nb": "v"}),
            json!({"owner": "nobody"}),
        ] {
            assert_eq!(status(bad.clone()), 400, "{bad}");
        }
    }

    #[test]
    fn names_of_any_script_are_kept_and_tags_are_a_set() {
        let wanted = body(json!({"name": "зображення 🦀", "tags": ["b", "a", "b"], "os_distro": "debian", "x:y/z": "1"})).unwrap();
        assert_eq!(wanted.attributes.name.as_deref(), Some("зображення 🦀"));
        assert_eq!(wanted.attributes.tags, ["a", "b"]);
        assert_eq!(wanted.attributes.properties.len(), 2);
        assert_eq!(wanted.attributes.visibility, Visibility::Shared);
    }
}
