//! Tags of projects over HTTP. Source: identity api-ref, "Project tags".

use super::common::{fine_tag, list_links, missing, tags};
use super::projects::{manageable, visible};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::json;
use strata_conductor::decide::project::UpdateProject;
use strata_events::ProjectId;

const MANAGE: &[Who] = &[Who::Admin, Who::DomainManager];

pub fn routes(r: &mut Routes) {
    r.get("/v3/projects/{project_id}/tags", index, Rule::token("identity:list_project_tags"));
    r.put("/v3/projects/{project_id}/tags", replace, Rule::of("identity:update_project_tags", MANAGE));
    r.delete("/v3/projects/{project_id}/tags", clear, Rule::of("identity:delete_project_tags", MANAGE));
    r.get("/v3/projects/{project_id}/tags/{value}", check, Rule::token("identity:get_project_tag"));
    r.put("/v3/projects/{project_id}/tags/{value}", add, Rule::of("identity:create_project_tag", MANAGE));
    r.delete("/v3/projects/{project_id}/tags/{value}", remove, Rule::of("identity:delete_project_tag", MANAGE));
}

async fn set(ctx: &Ctx, id: ProjectId, tags: Vec<String>) -> Result<Vec<String>, Fault> {
    let tags = Some(tags);
    let command = UpdateProject { id, name: None, description: None, enabled: None, tags, options: None, extra: Default::default() };
    let done = ctx.run(command).await?;
    Ok(done.cloud.projects.get(&id).map(|p| p.tags.clone()).unwrap_or_default())
}

async fn index(ctx: Ctx) -> Reply {
    let tags = &visible(&ctx)?.tags;
    Ok(Answer::ok(&json!({ "tags": tags, "links": list_links(&ctx) })))
}

async fn replace(ctx: Ctx) -> Reply {
    let id = manageable(&ctx)?.id;
    let wanted = ctx.object()?.remove("tags").ok_or_else(|| Fault::bad_request("'tags' is a required property"))?;
    let tags = set(&ctx, id, tags(wanted)?).await?;
    Ok(Answer::ok(&json!({ "tags": tags, "links": list_links(&ctx) })))
}

async fn clear(ctx: Ctx) -> Reply {
    let id = manageable(&ctx)?.id;
    set(&ctx, id, vec![]).await?;
    Ok(Answer::no_content())
}

async fn check(ctx: Ctx) -> Reply {
    let value = ctx.param("value");
    match visible(&ctx)?.tags.iter().any(|t| t == value) {
        true => Ok(Answer::no_content()),
        false => Err(missing(&ctx, "project tag", value)),
    }
}

async fn add(ctx: Ctx) -> Reply {
    let (id, mut tags) = manageable(&ctx).map(|p| (p.id, p.tags.clone()))?;
    let value = ctx.param("value").to_owned();
    if !fine_tag(&value) || tags.len() >= 80 {
        return Err(Fault::bad_request("A tag has 1 to 255 characters without '/' and ',', and a project has at most 80 tags."));
    }
    if !tags.contains(&value) {
        tags.push(value);
    }
    set(&ctx, id, tags).await?;
    Ok(Answer::empty(201))
}

async fn remove(ctx: Ctx) -> Reply {
    let (id, mut tags) = manageable(&ctx).map(|p| (p.id, p.tags.clone()))?;
    let value = ctx.param("value");
    if !tags.iter().any(|t| t == value) {
        return Err(missing(&ctx, "project tag", value));
    }
    tags.retain(|t| t != value);
    set(&ctx, id, tags).await?;
    Ok(Answer::no_content())
}
