//! Domains over HTTP. Source: identity api-ref, "Domains".

use super::common::{Fields, ensure, link, list, listed, may_read, missing, path_id, unbound, with_extra};
use crate::frame::{Answer, Ctx, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use strata_conductor::decide::domain::{CreateDomain, DeleteDomain, UpdateDomain};
use strata_events::DomainId;
use strata_projections::cloud::domain::Domain;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainReader];

pub fn routes(r: &mut Routes) {
    r.get("/v3/domains", index, Rule::of("identity:list_domains", READ));
    r.post("/v3/domains", create, Rule::admin("identity:create_domain"));
    r.get("/v3/domains/{domain_id}", show, Rule::token("identity:get_domain"));
    r.patch("/v3/domains/{domain_id}", update, Rule::admin("identity:update_domain"));
    r.delete("/v3/domains/{domain_id}", delete, Rule::admin("identity:delete_domain"));
}

pub fn view(ctx: &Ctx, domain: &Domain) -> Value {
    let view = json!({
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": domain.options,
        "links": link(ctx, format_args!("domains/{}", domain.id)),
    });
    with_extra(view, &domain.extra)
}

async fn index(ctx: Ctx) -> Reply {
    let seen = ctx.cloud.domains.values().filter(|d| listed(&ctx, Some(d.id)));
    list(&ctx, "domains", seen.map(|d| view(&ctx, d)), &["name", "enabled"])
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "domain")?;
    // Keystone lets a federation choose the id.
    let chosen = ask.text("explicit_domain_id")?.map(|id| id.parse::<DomainId>()).transpose()?;
    let id = chosen.unwrap_or_else(|| DomainId(crate::frame::new_uuid()));
    let command = CreateDomain {
        id: id.0,
        name: ask.needed_name(64)?,
        description: ask.text("description")?.unwrap_or_default(),
        enabled: ask.flag("enabled")?.unwrap_or(true),
        tags: ask.tags()?.unwrap_or_default(),
        options: ask.options(&["immutable"])?.unwrap_or_default(),
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let domain = done.cloud.domains.get(&id).ok_or_else(|| missing(&ctx, "domain", id))?;
    Ok(Answer::created(&json!({ "domain": view(&ctx, domain) })))
}

async fn show(ctx: Ctx) -> Reply {
    let id = ctx.param("domain_id").parse::<DomainId>().ok();
    let in_it = ctx.caller()?.project().and_then(|p| ctx.cloud.projects.get(&p)).map(|p| p.domain);
    ensure(&ctx, may_read(&ctx, id) || (id.is_some() && (in_it == id || ctx.caller()?.domain() == id)))?;
    let id: DomainId = path_id(&ctx, "domain_id", "domain")?;
    let domain = ctx.cloud.domains.get(&id).ok_or_else(|| missing(&ctx, "domain", id))?;
    Ok(Answer::ok(&json!({ "domain": view(&ctx, domain) })))
}

async fn update(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let id: DomainId = path_id(&ctx, "domain_id", "domain")?;
    let mut ask = Fields::of(&ctx, "domain")?;
    let command = UpdateDomain {
        id,
        name: ask.name(64)?,
        description: ask.nullable("description")?.map(Option::unwrap_or_default),
        enabled: ask.flag("enabled")?,
        tags: ask.tags()?,
        options: ask.options(&["immutable"])?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let domain = done.cloud.domains.get(&id).ok_or_else(|| missing(&ctx, "domain", id))?;
    Ok(Answer::ok(&json!({ "domain": view(&ctx, domain) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    ctx.run(DeleteDomain { id: path_id(&ctx, "domain_id", "domain")? }).await?;
    Ok(Answer::no_content())
}
