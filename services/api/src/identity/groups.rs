//! Groups over HTTP. Source: identity api-ref, "Groups".

use super::common::{Fields, ensure, link, list, listed, may_manage, may_read, missing, path_id};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::group::{AddMember, CreateGroup, DeleteGroup, RemoveMember, UpdateGroup};
use strata_events::{DomainId, GroupId, UserId};
use strata_projections::cloud::group::Group;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainReader];
const MANAGE: &[Who] = &[Who::Admin, Who::DomainManager];

pub fn routes(r: &mut Routes) {
    r.get("/v3/groups", index, Rule::of("identity:list_groups", READ));
    r.post("/v3/groups", create, Rule::of("identity:create_group", MANAGE));
    r.get("/v3/groups/{group_id}", show, Rule::of("identity:get_group", READ));
    r.patch("/v3/groups/{group_id}", update, Rule::of("identity:update_group", MANAGE));
    r.delete("/v3/groups/{group_id}", delete, Rule::of("identity:delete_group", MANAGE));
    r.get("/v3/groups/{group_id}/users", members, Rule::of("identity:list_users_in_group", READ));
    r.put("/v3/groups/{group_id}/users/{user_id}", add, Rule::of("identity:add_user_to_group", MANAGE));
    r.get("/v3/groups/{group_id}/users/{user_id}", check, Rule::of("identity:check_user_in_group", READ));
    r.delete("/v3/groups/{group_id}/users/{user_id}", remove, Rule::of("identity:remove_user_from_group", MANAGE));
}

pub fn view(ctx: &Ctx, group: &Group) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "domain_id": group.domain,
        "description": group.description,
        "links": link(ctx, format_args!("groups/{}", group.id)),
    })
}

async fn index(ctx: Ctx) -> Reply {
    let seen = ctx.cloud.groups.values().filter(|g| listed(&ctx, Some(g.domain)));
    list(&ctx, "groups", seen.map(|g| view(&ctx, g)), &["name", "domain_id"])
}

fn found(ctx: &Ctx, may: fn(&Ctx, Option<DomainId>) -> bool) -> Result<&Arc<Group>, Fault> {
    let group = ctx.param("group_id").parse::<GroupId>().ok().and_then(|id| ctx.cloud.groups.get(&id));
    ensure(ctx, may(ctx, group.map(|g| g.domain)))?;
    group.ok_or_else(|| missing(ctx, "group", ctx.param("group_id")))
}

async fn create(ctx: Ctx) -> Reply {
    let mut ask = Fields::of(&ctx, "group")?;
    let own = ctx.caller()?;
    let domain: Option<DomainId> = ask.id("domain_id", "domain")?.flatten();
    let domain = domain.unwrap_or_else(|| own.domain().unwrap_or(own.user_domain));
    ensure(&ctx, may_manage(&ctx, Some(domain)))?;
    let id = GroupId(crate::frame::new_uuid());
    let (name, description) = (ask.needed_name(64)?, ask.text("description")?.unwrap_or_default());
    let done = ctx.run(CreateGroup { id, domain, name, description }).await?;
    let group = done.cloud.groups.get(&id).ok_or_else(|| missing(&ctx, "group", id))?;
    Ok(Answer::created(&json!({ "group": view(&ctx, group) })))
}

async fn show(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_read)?;
    Ok(Answer::ok(&json!({ "group": view(&ctx, group) })))
}

async fn update(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_manage)?.clone();
    let mut ask = Fields::of(&ctx, "group")?;
    if let Some(domain) = ask.id::<DomainId>("domain_id", "domain")?
        && domain != Some(group.domain)
    {
        return Err(Fault::bad_request("Cannot change Domain ID."));
    }
    let description = ask.nullable("description")?.map(Option::unwrap_or_default);
    let done = ctx.run(UpdateGroup { id: group.id, name: ask.name(64)?, description }).await?;
    let group = done.cloud.groups.get(&group.id).ok_or_else(|| missing(&ctx, "group", group.id))?;
    Ok(Answer::ok(&json!({ "group": view(&ctx, group) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = found(&ctx, may_manage)?.id;
    ctx.run(DeleteGroup { id }).await?;
    Ok(Answer::no_content())
}

async fn members(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_read)?;
    let users = ctx.cloud.groups.members(&group.id).filter_map(|id| ctx.cloud.users.get(&id));
    let users = users.filter(|u| listed(&ctx, Some(u.domain)));
    list(&ctx, "users", users.map(|u| super::users::view(&ctx, u)), &["name", "enabled"])
}

async fn add(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_manage)?.id;
    let user: UserId = path_id(&ctx, "user_id", "user")?;
    // A domain's manager puts only users of that domain into its groups.
    ensure(&ctx, may_manage(&ctx, ctx.cloud.users.get(&user).map(|u| u.domain)))?;
    ctx.run(AddMember { group, user }).await?;
    Ok(Answer::no_content())
}

async fn check(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_read)?.id;
    let user: UserId = path_id(&ctx, "user_id", "user")?;
    ensure(&ctx, may_read(&ctx, ctx.cloud.users.get(&user).map(|u| u.domain)))?;
    match ctx.cloud.groups.has_member(&group, &user) {
        true => Ok(Answer::no_content()),
        false => Err(Fault::not_found(format!("Could not find user {user} in group {group}."))),
    }
}

async fn remove(ctx: Ctx) -> Reply {
    let group = found(&ctx, may_manage)?.id;
    let user: UserId = path_id(&ctx, "user_id", "user")?;
    ensure(&ctx, may_manage(&ctx, ctx.cloud.users.get(&user).map(|u| u.domain)))?;
    ctx.run(RemoveMember { group, user }).await?;
    Ok(Answer::no_content())
}
