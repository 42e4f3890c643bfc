//! What the image service offers: its versions, ways to import, stores, and imports that were made.

use super::view::{self, STORE};
use super::visible;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use strata_projections::cloud::image::{Image, Import};

/// Minor versions that glance has with several stores and without a cache, newest first.
const VERSIONS: [&str; 16] =
    ["2.17", "2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"];
pub const IMPORT_METHODS: [&str; 1] = ["glance-direct"];

pub fn routes(r: &mut Routes) {
    r.get("", multiple, Rule::public("versions"));
    r.get("/versions", versions, Rule::public("versions"));
    r.get("/v2", versions, Rule::public("versions"));
    r.get("/v2/info/import", import, Rule::token("get_image_import_info"));
    r.get("/v2/info/stores", stores, Rule::token("get_stores_info"));
    r.get("/v2/info/stores/detail", stores_detail, Rule::admin("stores_info_detail"));
    r.get("/v2/info/usage", usage, Rule::reader("get_usage"));
    r.get("/v2/tasks", tasks, Rule::admin("tasks_api_access"));
    r.get("/v2/tasks/{task_id}", task, Rule::admin("tasks_api_access"));
    r.get("/v2/images/{image_id}/tasks", tasks_of, Rule::reader("get_image"));
}

fn document(ctx: &Ctx) -> Value {
    let href = format!("{}/image/v2/", ctx.base);
    let version = |id: &&str| {
        let status = if *id == VERSIONS[0] { "CURRENT" } else { "SUPPORTED" };
        json!({ "id": format!("v{id}"), "status": status, "links": [{ "rel": "self", "href": href }] })
    };
    json!({ "versions": VERSIONS.iter().map(version).collect::<Vec<_>>() })
}

async fn multiple(ctx: Ctx) -> Reply {
    Ok(Answer::json(300, &document(&ctx)))
}

async fn versions(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&document(&ctx)))
}

async fn import(_: Ctx) -> Reply {
    let methods = json!({ "description": "Import methods available.", "type": "array", "value": IMPORT_METHODS });
    Ok(Answer::ok(&json!({ "import-methods": methods })))
}

async fn stores(_: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "stores": [{ "id": STORE, "description": "Files named by their SHA-512", "default": "true" }] })))
}

async fn stores_detail(_: Ctx) -> Reply {
    let properties = json!({ "chunk_size": 262_144, "thin_provisioning": false });
    Ok(Answer::ok(&json!({ "stores": [{
        "id": STORE, "description": "Files named by their SHA-512", "default": "true", "type": "file", "weight": 0, "properties": properties,
    }] })))
}

/// What a project's images take. No limit is set, which glance writes as -1.
async fn usage(ctx: Ctx) -> Reply {
    let project = ctx.project()?;
    let ours: Vec<_> = ctx.cloud.images.values().filter(|i| i.owner == project).collect();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let size = ours.iter().filter_map(|i| i.data.as_ref()).map(|d| d.size).sum();
    let uploads = ours.iter().filter_map(|i| i.upload.as_ref());
    let staged = uploads.clone().filter_map(|u| u.staged.as_ref()).map(|s| s.data.size).sum();
    let limit = |usage: u64| json!({ "limit": -1, "usage": usage });
    Ok(Answer::ok(&json!({ "usage": {
        "image_size_total": limit(mib(size)),
        "image_stage_total": limit(mib(staged)),
        "image_count_total": limit(ours.len() as u64),
        "image_count_uploading": limit(uploads.count() as u64),
    } })))
}

/// The imports that images remember, as tasks.
fn stub(image: &Image, import: &Import) -> Value {
    let mut task = view::import(image, import);
    if let Some(task) = task.as_object_mut() {
        for detail in ["input", "result", "message", "deleted", "deleted_at"] {
            task.remove(detail);
        }
        task.insert("self".into(), json!(format!("/v2/tasks/{}", import.id)));
        task.insert("schema".into(), json!("/v2/schemas/task"));
    }
    task
}

async fn tasks(ctx: Ctx) -> Reply {
    let tasks: Vec<Value> = ctx.cloud.images.newest_first().flat_map(|i| i.imports.iter().map(|t| stub(i, t))).take(1000).collect();
    Ok(Answer::ok(&json!({ "tasks": tasks, "first": "/v2/tasks", "schema": "/v2/schemas/tasks" })))
}

async fn task(ctx: Ctx) -> Reply {
    let id = ctx.param("task_id");
    let found = ctx.cloud.images.values().find_map(|i| i.imports.iter().find(|t| t.id.to_string() == id).map(|t| (i, t)));
    let (image, import) = found.ok_or_else(|| Fault::not_found(format!("Task not found: no task with ID {id}")))?;
    let mut task = view::import(image, import);
    if let Some(task) = task.as_object_mut() {
        task.remove("deleted");
        task.remove("deleted_at");
        task.insert("self".into(), json!(format!("/v2/tasks/{id}")));
        task.insert("schema".into(), json!("/v2/schemas/task"));
    }
    Ok(Answer::ok(&task))
}

async fn tasks_of(ctx: Ctx) -> Reply {
    let image = visible(&ctx)?;
    let tasks: Vec<Value> = image.imports.iter().map(|t| view::import(&image, t)).collect();
    Ok(Answer::ok(&json!({ "tasks": tasks })))
}
