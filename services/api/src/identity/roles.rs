//! Roles and what they imply, over HTTP. Source: identity api-ref, "Roles".

use super::common::{Fields, ensure, link, list, list_links, may_manage, missing, path_id, unbound};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::role::{CreateRole, DeleteRole, ImplyRole, RemoveImplication, UpdateRole};
use strata_events::{DomainId, RoleId};
use strata_projections::cloud::role::Role;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainManager];
const INFER: &[Who] = &[Who::Admin, Who::SystemReader];

/// The roles that a domain's manager may give.
pub const MANAGED: [&str; 3] = ["manager", "member", "reader"];

pub fn routes(r: &mut Routes) {
    r.get("/v3/roles", index, Rule::of("identity:list_roles", READ));
    r.post("/v3/roles", create, Rule::admin("identity:create_role"));
    r.get("/v3/roles/{role_id}", show, Rule::of("identity:get_role", READ));
    r.patch("/v3/roles/{role_id}", update, Rule::admin("identity:update_role"));
    r.delete("/v3/roles/{role_id}", delete, Rule::admin("identity:delete_role"));
    r.get("/v3/roles/{role_id}/implies", implied, Rule::of("identity:list_implied_roles", INFER));
    r.put("/v3/roles/{role_id}/implies/{implied_id}", imply, Rule::admin("identity:create_implied_role"));
    r.get("/v3/roles/{role_id}/implies/{implied_id}", implication, Rule::of("identity:get_implied_role", INFER));
    r.head("/v3/roles/{role_id}/implies/{implied_id}", check, Rule::of("identity:check_implied_role", INFER));
    r.delete("/v3/roles/{role_id}/implies/{implied_id}", unimply, Rule::admin("identity:delete_implied_role"));
    r.get("/v3/role_inferences", inferences, Rule::of("identity:list_role_inference_rules", INFER));
}

pub fn view(ctx: &Ctx, role: &Role) -> Value {
    json!({
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain,
        "description": role.description,
        "options": role.options,
        "links": link(ctx, format_args!("roles/{}", role.id)),
    })
}

async fn index(ctx: Ctx) -> Reply {
    let domain = match ctx.query.get("domain_id") {
        Some(id) => Some(id.parse::<DomainId>().map_err(|_| missing(&ctx, "domain", id))?),
        None => None,
    };
    ensure(&ctx, domain.is_none() || ctx.caller()?.domain().is_none())?;
    // A domain's manager sees the roles that it may give.
    let bound = ctx.caller()?.domain().is_some();
    let seen = ctx.cloud.roles.of_domain(domain).filter(|r| !bound || MANAGED.contains(&r.name.as_str()));
    list(&ctx, "roles", seen.map(|r| view(&ctx, r)), &["name"])
}

fn found<'a>(ctx: &'a Ctx, parameter: &str) -> Result<&'a Arc<Role>, Fault> {
    let id: RoleId = path_id(ctx, parameter, "role")?;
    ctx.cloud.roles.get(&id).ok_or_else(|| missing(ctx, "role", id))
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "role")?;
    let id = RoleId(crate::frame::new_uuid());
    let domain: Option<DomainId> = ask.id("domain_id", "domain")?.flatten();
    ensure(&ctx, may_manage(&ctx, domain))?;
    let command = CreateRole {
        id,
        name: ask.needed_name(255)?,
        domain,
        description: ask.text("description")?,
        options: ask.options(&["immutable"])?.unwrap_or_default(),
    };
    let done = ctx.run(command).await?;
    let role = done.cloud.roles.get(&id).ok_or_else(|| missing(&ctx, "role", id))?;
    Ok(Answer::created(&json!({ "role": view(&ctx, role) })))
}

async fn show(ctx: Ctx) -> Reply {
    let role = found(&ctx, "role_id")?;
    let bound = ctx.caller()?.domain().is_some();
    ensure(&ctx, !bound || (role.domain.is_none() && MANAGED.contains(&role.name.as_str())))?;
    Ok(Answer::ok(&json!({ "role": view(&ctx, role) })))
}

async fn update(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let role = found(&ctx, "role_id")?;
    let mut ask = Fields::of(&ctx, "role")?;
    if let Some(domain) = ask.id::<DomainId>("domain_id", "domain")?
        && domain != role.domain
    {
        return Err(Fault::bad_request("Cannot change Domain ID."));
    }
    let id = role.id;
    let (name, description, options) = (ask.name(255)?, ask.nullable("description")?, ask.options(&["immutable"])?);
    let done = ctx.run(UpdateRole { id, name, description, options }).await?;
    let role = done.cloud.roles.get(&id).ok_or_else(|| missing(&ctx, "role", id))?;
    Ok(Answer::ok(&json!({ "role": view(&ctx, role) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    ctx.run(DeleteRole { id: path_id(&ctx, "role_id", "role")? }).await?;
    Ok(Answer::no_content())
}

/// A role as it stands in an inference: id, name and link.
fn short(ctx: &Ctx, role: &Role) -> Value {
    json!({ "id": role.id, "name": role.name, "description": role.description, "links": link(ctx, format_args!("roles/{}", role.id)) })
}

fn implied_of(ctx: &Ctx, role: &Role) -> Vec<Value> {
    ctx.cloud.roles.implied_by(&role.id).filter_map(|id| ctx.cloud.roles.get(&id)).map(|r| short(ctx, r)).collect()
}

async fn implied(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let role = found(&ctx, "role_id")?;
    let inference = json!({ "prior_role": short(&ctx, role), "implies": implied_of(&ctx, role) });
    Ok(Answer::ok(&json!({ "role_inference": inference, "links": list_links(&ctx) })))
}

/// The two roles in the path.
fn pair(ctx: &Ctx) -> Result<(RoleId, RoleId), Fault> {
    Ok((path_id(ctx, "role_id", "role")?, path_id(ctx, "implied_id", "role")?))
}

fn inference(ctx: &Ctx) -> Result<Value, Fault> {
    let (role, implied) = (found(ctx, "role_id")?, found(ctx, "implied_id")?);
    Ok(json!({
        "role_inference": { "prior_role": short(ctx, role), "implies": short(ctx, implied) },
        "links": link(ctx, format_args!("roles/{}/implies/{}", role.id, implied.id)),
    }))
}

async fn imply(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let (role, implied) = pair(&ctx)?;
    ctx.run(ImplyRole { role, implied }).await?;
    Ok(Answer::created(&inference(&ctx)?))
}

async fn implication(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    exists(&ctx)?;
    Ok(Answer::ok(&inference(&ctx)?))
}

async fn check(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    exists(&ctx)?;
    Ok(Answer::no_content())
}

fn exists(ctx: &Ctx) -> Result<(), Fault> {
    let (role, implied) = pair(ctx)?;
    match ctx.cloud.roles.implies(&role, &implied) {
        true => Ok(()),
        false => Err(missing(ctx, "implied role", format_args!("{role} implies {implied}"))),
    }
}

async fn unimply(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let (role, implied) = pair(&ctx)?;
    ctx.run(RemoveImplication { role, implied }).await?;
    Ok(Answer::no_content())
}

async fn inferences(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let priors = ctx.cloud.roles.values().filter(|r| ctx.cloud.roles.implied_by(&r.id).next().is_some());
    let views: Vec<Value> = priors.map(|r| json!({ "prior_role": short(&ctx, r), "implies": implied_of(&ctx, r) })).collect();
    Ok(Answer::ok(&json!({ "role_inferences": views, "links": list_links(&ctx) })))
}
