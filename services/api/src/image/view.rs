//! How an image looks to clients: free properties stand beside the attributes that every image has.

use serde_json::{Map, Value, json};
use strata_projections::cloud::image::{Image, ImageData, ImageStatus, Import, Member};

/// The id of the one store.
pub const STORE: &str = "local";

pub fn image(image: &Image) -> Value {
    let a = &image.attributes;
    // Properties first: none of them can stand for an attribute.
    let mut view: Map<String, Value> = a.properties.clone();
    let staged = image.upload.as_ref().and_then(|u| u.staged.as_ref()).map(|s| &s.data);
    let size = image.data.as_ref().or(staged).map(|d| d.size);
    let of_data = |f: fn(&ImageData) -> Value| image.data.as_ref().map_or(Value::Null, f);
    let attributes = [
        ("name", json!(a.name)),
        ("disk_format", json!(a.disk_format)),
        ("container_format", json!(a.container_format)),
        ("visibility", json!(a.visibility)),
        ("size", json!(size)),
        ("virtual_size", of_data(|d| json!(d.virtual_size))),
        ("status", json!(image.status.name())),
        ("checksum", of_data(|d| json!(d.checksum))),
        ("protected", json!(a.protected)),
        ("min_ram", json!(a.min_ram)),
        ("min_disk", json!(a.min_disk)),
        ("owner", json!(image.owner)),
        ("os_hidden", json!(a.os_hidden)),
        ("os_hash_algo", of_data(|_| json!("sha512"))),
        ("os_hash_value", of_data(|d| json!(d.sha512))),
        ("id", json!(image.id)),
        ("created_at", json!(image.created_at.seconds())),
        ("updated_at", json!(image.updated_at.seconds())),
        ("tags", json!(a.tags)),
        ("self", json!(format!("/v2/images/{}", image.id))),
        ("file", json!(format!("/v2/images/{}/file", image.id))),
        ("schema", json!("/v2/schemas/image")),
    ];
    view.extend(attributes.map(|(k, v)| (k.to_owned(), v)));
    if matches!(image.status, ImageStatus::Active | ImageStatus::Deactivated) {
        view.insert("stores".into(), json!(STORE));
    }
    Value::Object(view)
}

pub fn member(image: &Image, member: &Member) -> Value {
    json!({
        "member_id": member.project,
        "image_id": image.id,
        "status": member.status,
        "created_at": member.created_at.seconds(),
        "updated_at": member.updated_at.seconds(),
        "schema": "/v2/schemas/member",
    })
}

/// A task as /v2/images/{id}/tasks shows it.
pub fn import(image: &Image, import: &Import) -> Value {
    let (status, message) = match &import.failure {
        None => ("processing", ""),
        Some(None) => ("success", ""),
        Some(Some(why)) => ("failure", why.as_str()),
    };
    json!({
        "id": import.id,
        "type": "api_image_import",
        "status": status,
        "owner": image.owner,
        "message": message,
        "input": {"image_id": image.id, "import_req": {"method": {"name": "glance-direct"}}, "backend": [STORE]},
        "result": if status == "success" { json!({"image_id": image.id}) } else { Value::Null },
        "image_id": image.id,
        "request_id": import.request_id,
        "user_id": import.user,
        "created_at": import.created_at.seconds(),
        "updated_at": import.updated_at.seconds(),
        "expires_at": Value::Null,
        "deleted": false,
        "deleted_at": Value::Null,
    })
}
