//! The JSON Schemas that clients ask for, to know which attributes an image has. Source: glance/api/v2/images.py.

use super::validate::{CONTAINER_FORMATS, DISK_FORMATS};
use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Value, json};

pub fn routes(r: &mut Routes) {
    r.get("/v2/schemas/image", image, Rule::token("get_schemas"));
    r.get("/v2/schemas/images", images, Rule::token("get_schemas"));
    r.get("/v2/schemas/member", member, Rule::token("get_schemas"));
    r.get("/v2/schemas/members", members, Rule::token("get_schemas"));
    r.get("/v2/schemas/task", task, Rule::token("get_schemas"));
    r.get("/v2/schemas/tasks", tasks, Rule::token("get_schemas"));
}

async fn image(_: Ctx) -> Reply {
    Ok(Answer::ok(&image_schema()))
}
async fn images(_: Ctx) -> Reply {
    let mut schema = collection("images", image_schema());
    schema["properties"]["first"] = json!({"type": "string"});
    schema["properties"]["next"] = json!({"type": "string"});
    schema["links"] = json!([
        {"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"},
    ]);
    Ok(Answer::ok(&schema))
}
async fn member(_: Ctx) -> Reply {
    Ok(Answer::ok(&member_schema()))
}
async fn members(_: Ctx) -> Reply {
    Ok(Answer::ok(&collection("members", member_schema())))
}
async fn task(_: Ctx) -> Reply {
    Ok(Answer::ok(&task_schema(&["input", "result", "message"])))
}
async fn tasks(_: Ctx) -> Reply {
    let mut schema = collection("tasks", task_schema(&[]));
    schema["properties"]["first"] = json!({"type": "string"});
    schema["properties"]["next"] = json!({"type": "string"});
    Ok(Answer::ok(&schema))
}

fn collection(name: &str, items: Value) -> Value {
    json!({
        "name": name,
        "properties": { name: {"type": "array", "items": items}, "schema": {"type": "string"} },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

fn measured(kinds: Value, description: &str) -> Value {
    json!({"type": kinds, "readOnly": true, "description": description})
}

fn image_schema() -> Value {
    let or_null = |all: &[&str]| -> Vec<Value> { std::iter::once(Value::Null).chain(all.iter().map(|f| json!(f))).collect() };
    let mut checksum = measured(json!(["null", "string"]), "md5 hash of image contents.");
    checksum["maxLength"] = json!(32);
    let mut algorithm = measured(json!(["null", "string"]), "Algorithm to calculate the os_hash_value");
    algorithm["maxLength"] = json!(64);
    let mut hash = measured(json!(["null", "string"]), "Hexdigest of the image contents using the algorithm specified by the os_hash_algo");
    hash["maxLength"] = json!(128);
    let mut status = measured(json!("string"), "Status of the image");
    status["enum"] = json!(["queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"]);
    let location = json!({
        "type": "object",
        "properties": {"url": {"type": "string", "maxLength": 255}, "metadata": {"type": "object"}},
        "required": ["url", "metadata"],
    });
    json!({
        "name": "image",
        "properties": {
            "id": {"type": "string", "description": "An identifier for the image",
                "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"},
            "name": {"type": ["null", "string"], "description": "Descriptive name for the image", "maxLength": 255},
            "status": status,
            "visibility": {"type": "string", "description": "Scope of image accessibility", "enum": ["community", "public", "private", "shared"]},
            "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
            "os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
            "checksum": checksum,
            "os_hash_algo": algorithm,
            "os_hash_value": hash,
            "owner": {"type": ["null", "string"], "description": "Owner of the image", "maxLength": 255},
            "size": measured(json!(["null", "integer"]), "Size of image file in bytes"),
            "virtual_size": measured(json!(["null", "integer"]), "Virtual size of image in bytes"),
            "container_format": {"type": ["null", "string"], "description": "Format of the container", "enum": or_null(CONTAINER_FORMATS)},
            "disk_format": {"type": ["null", "string"], "description": "Format of the disk", "enum": or_null(DISK_FORMATS)},
            "created_at": measured(json!("string"), "Date and time of image registration"),
            "updated_at": measured(json!("string"), "Date and time of the last image modification"),
            "tags": {"type": "array", "description": "List of strings related to the image", "items": {"type": "string", "maxLength": 255}},
            "direct_url": measured(json!("string"), "URL to access the image file kept in external store"),
            "min_ram": {"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
            "min_disk": {"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
            "self": measured(json!("string"), "An image self url"),
            "file": measured(json!("string"), "An image file url"),
            "stores": measured(json!("string"), "Store in which image data resides.  Only present when the operator has enabled multiple stores.  May be a comma-separated list of store identifiers."),
            "schema": measured(json!("string"), "An image schema url"),
            "locations": {"type": "array", "items": location, "description": "A set of URLs to access the image file kept in external store"},
        },
        "additionalProperties": {"type": "string"},
        "links": [{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}],
    })
}

fn member_schema() -> Value {
    json!({
        "name": "member",
        "properties": {
            "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
            "image_id": {"type": "string", "description": "An identifier for the image",
                "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"},
            "created_at": {"type": "string", "description": "Date and time of image member creation"},
            "updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
            "status": {"type": "string", "description": "The status of this image member", "enum": ["pending", "accepted", "rejected"]},
            "schema": {"readOnly": true, "type": "string"},
        },
        "additionalProperties": false,
    })
}

fn task_schema(details: &[&str]) -> Value {
    let mut schema = json!({
        "name": "task",
        "properties": {
            "id": {"type": "string", "description": "An identifier for the task"},
            "type": {"type": "string", "enum": ["import", "api_image_import", "location_import"]},
            "status": {"type": "string", "enum": ["pending", "processing", "success", "failure"]},
            "owner": {"type": "string", "description": "An identifier for the owner of this task"},
            "image_id": {"type": "string", "description": "Image associated with the task"},
            "request_id": {"type": "string", "description": "Human-readable informative request-id"},
            "user_id": {"type": "string", "description": "User associated with the task"},
            "expires_at": {"type": ["null", "string"]},
            "created_at": {"type": "string"},
            "updated_at": {"type": "string"},
            "self": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
        },
        "additionalProperties": false,
    });
    for name in details {
        schema["properties"][*name] = if *name == "message" { json!({"type": "string"}) } else { json!({"type": ["null", "object"]}) };
    }
    schema
}
