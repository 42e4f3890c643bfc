//! A server's metadata. Source: compute api-ref, "Server metadata (servers, metadata)".

use super::servers::{check_metadata, find};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::json;
use std::collections::BTreeMap;
use strata_conductor::decide::instance::{MetadataChange, SetMetadata};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/metadata", list, Rule::reader("os_compute_api:server-metadata:index"));
    r.post("/v2.1/servers/{id}/metadata", merge, Rule::member("os_compute_api:server-metadata:create"));
    r.put("/v2.1/servers/{id}/metadata", replace, Rule::member("os_compute_api:server-metadata:update_all"));
    r.get("/v2.1/servers/{id}/metadata/{key}", show, Rule::reader("os_compute_api:server-metadata:show"));
    r.put("/v2.1/servers/{id}/metadata/{key}", set, Rule::member("os_compute_api:server-metadata:update"));
    r.delete("/v2.1/servers/{id}/metadata/{key}", delete, Rule::member("os_compute_api:server-metadata:delete"));
}

async fn list(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "metadata": find(&ctx, &ctx.cloud)?.spec.metadata })))
}

async fn show(ctx: Ctx) -> Reply {
    let key = ctx.param("key");
    match find(&ctx, &ctx.cloud)?.spec.metadata.get(key) {
        Some(value) => Ok(Answer::ok(&json!({ "meta": { key: value } }))),
        None => Err(Fault::not_found("Metadata item was not found")),
    }
}

async fn change(ctx: &Ctx, change: MetadataChange) -> Result<BTreeMap<String, String>, Fault> {
    let id = find(ctx, &ctx.cloud)?.id;
    let done = ctx.run(SetMetadata { id, change, admin: ctx.is_admin() }).await?;
    Ok(find(ctx, &done.cloud)?.spec.metadata.clone())
}

async fn merge(ctx: Ctx) -> Reply {
    let metadata: BTreeMap<String, String> = ctx.body("metadata")?;
    check_metadata(&metadata)?;
    Ok(Answer::ok(&json!({ "metadata": change(&ctx, MetadataChange::Merge(metadata)).await? })))
}

async fn replace(ctx: Ctx) -> Reply {
    let metadata: BTreeMap<String, String> = ctx.body("metadata")?;
    check_metadata(&metadata)?;
    Ok(Answer::ok(&json!({ "metadata": change(&ctx, MetadataChange::Replace(metadata)).await? })))
}

async fn set(ctx: Ctx) -> Reply {
    let meta: BTreeMap<String, String> = ctx.body("meta")?;
    check_metadata(&meta)?;
    if meta.len() != 1 || !meta.contains_key(ctx.param("key")) {
        return Err(Fault::bad_request("Request body and URI mismatch"));
    }
    change(&ctx, MetadataChange::Merge(meta.clone())).await?;
    Ok(Answer::ok(&json!({ "meta": meta })))
}

async fn delete(ctx: Ctx) -> Reply {
    change(&ctx, MetadataChange::Remove(ctx.param("key").to_owned())).await?;
    Ok(Answer::no_content())
}
