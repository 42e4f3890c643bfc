//! A server's tags, since 2.26. Source: compute api-ref, "Server tags (servers, tags)".

use super::servers::{check_tag, find};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::json;
use strata_conductor::decide::instance::{SetTags, TagsChange};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/tags", list, Rule::reader("os_compute_api:os-server-tags:index")).since(2, 26);
    r.put("/v2.1/servers/{id}/tags", replace, Rule::member("os_compute_api:os-server-tags:update_all")).since(2, 26);
    r.delete("/v2.1/servers/{id}/tags", clear, Rule::member("os_compute_api:os-server-tags:delete_all")).since(2, 26);
    r.get("/v2.1/servers/{id}/tags/{tag}", show, Rule::reader("os_compute_api:os-server-tags:show")).since(2, 26);
    r.put("/v2.1/servers/{id}/tags/{tag}", add, Rule::member("os_compute_api:os-server-tags:update")).since(2, 26);
    r.delete("/v2.1/servers/{id}/tags/{tag}", delete, Rule::member("os_compute_api:os-server-tags:delete")).since(2, 26);
}

async fn list(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "tags": find(&ctx, &ctx.cloud)?.spec.tags })))
}

async fn show(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let tag = ctx.param("tag");
    if instance.spec.tags.iter().any(|t| t == tag) {
        Ok(Answer::no_content())
    } else {
        Err(Fault::not_found(format!("Server {} has no tag '{tag}'", instance.id)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tags {
    tags: Vec<String>,
}

async fn replace(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    let ask: Tags = ctx.typed("tags", ctx.object()?.into())?;
    for tag in &ask.tags {
        check_tag(tag)?;
    }
    let done = ctx.run(SetTags { id, change: TagsChange::Replace(ask.tags) }).await?;
    Ok(Answer::ok(&json!({ "tags": find(&ctx, &done.cloud)?.spec.tags })))
}

async fn clear(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    ctx.run(SetTags { id, change: TagsChange::Replace(vec![]) }).await?;
    Ok(Answer::no_content())
}

async fn add(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    let tag = ctx.param("tag").to_owned();
    check_tag(&tag)?;
    let done = ctx.run(SetTags { id, change: TagsChange::Add(tag.clone()) }).await?;
    if done.events.is_empty() {
        return Ok(Answer::no_content());
    }
    Ok(Answer::empty(201).header("location", &format!("{}/compute/v2.1/servers/{id}/tags/{tag}", ctx.base)))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    ctx.run(SetTags { id, change: TagsChange::Remove(ctx.param("tag").to_owned()) }).await?;
    Ok(Answer::no_content())
}
