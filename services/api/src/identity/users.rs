//! Users over HTTP. Source: identity api-ref, "Users". A password comes in, its hash goes on, and neither comes out.

use super::common::{Fields, ensure, link, list, list_links, listed, may_manage, may_read, missing, with_extra};
use super::password;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::Context;
use strata_conductor::decide::user::{ChangePassword, CreateUser, DeleteUser, UpdateUser};
use strata_events::{Actor, DomainId, ProjectId, UserId};
use strata_projections::cloud::user::User;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainReader];
const MANAGE: &[Who] = &[Who::Admin, Who::DomainManager];
const OPTIONS: [&str; 7] = [
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "ignore_user_inactivity",
    "lock_password",
    "multi_factor_auth_enabled",
    "multi_factor_auth_rules",
];

pub fn routes(r: &mut Routes) {
    r.get("/v3/users", index, Rule::of("identity:list_users", READ));
    r.post("/v3/users", create, Rule::of("identity:create_user", MANAGE));
    r.get("/v3/users/{user_id}", show, Rule::token("identity:get_user"));
    r.patch("/v3/users/{user_id}", update, Rule::of("identity:update_user", MANAGE));
    r.delete("/v3/users/{user_id}", delete, Rule::of("identity:delete_user", MANAGE));
    // Keystone asks for no token here: a user whose password has expired has none.
    r.post("/v3/users/{user_id}/password", change_password, Rule::public("identity:change_password"));
    r.get("/v3/users/{user_id}/groups", groups, Rule::token("identity:list_groups_for_user"));
    r.get("/v3/users/{user_id}/projects", projects, Rule::token("identity:list_user_projects"));
}

pub fn view(ctx: &Ctx, user: &User) -> Value {
    let mut view = json!({
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain,
        "enabled": user.enabled,
        "options": user.options,
        "password_expires_at": user.password_expires_at.map(|t| t.micros()),
        "links": link(ctx, format_args!("users/{}", user.id)),
    });
    if let Some(project) = user.default_project {
        view["default_project_id"] = json!(project);
    }
    if let Some(description) = &user.description {
        view["description"] = json!(description);
    }
    with_extra(view, &user.extra)
}

async fn index(ctx: Ctx) -> Reply {
    let seen = ctx.cloud.users.values().filter(|u| listed(&ctx, Some(u.domain)));
    list(&ctx, "users", seen.map(|u| view(&ctx, u)), &["name", "enabled", "domain_id"])
}

/// The password in a body, made into its hash.
async fn new_password(ctx: &Ctx, ask: &mut Fields) -> Result<Option<String>, Fault> {
    // Some clients send the old one along; it must not be kept as one more attribute.
    ask.0.remove("original_password");
    match ask.0.remove("password") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= password::MAX_LENGTH => {
            ctx.app.identity.passwords.hash(text).await.map(Some)
        }
        Some(_) => Err(Fault::bad_request(format!(
            "Invalid input for field 'password': a string of 1 to {} bytes is expected.",
            password::MAX_LENGTH
        ))),
    }
}

async fn create(ctx: Ctx) -> Reply {
    let mut ask = Fields::of(&ctx, "user")?;
    let own = ctx.caller()?;
    let domain: Option<DomainId> = ask.id("domain_id", "domain")?.flatten();
    let domain = domain.unwrap_or_else(|| own.domain().unwrap_or(own.user_domain));
    ensure(&ctx, may_manage(&ctx, Some(domain)))?;
    let id = UserId(crate::frame::new_uuid());
    let name = ask.needed_name(255)?;
    let default_project: Option<ProjectId> = ask.id("default_project_id", "project")?.flatten();
    let command = CreateUser {
        id,
        domain,
        name,
        enabled: ask.flag("enabled")?.unwrap_or(true),
        description: ask.text("description")?,
        default_project,
        options: ask.options(&OPTIONS)?.unwrap_or_default(),
        password_hash: new_password(&ctx, &mut ask).await?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let user = done.cloud.users.get(&id).ok_or_else(|| missing(&ctx, "user", id))?;
    Ok(Answer::created(&json!({ "user": view(&ctx, user) })))
}

/// The user in the path, if the caller may see it.
pub fn visible(ctx: &Ctx) -> Result<&Arc<User>, Fault> {
    let id = ctx.param("user_id").parse::<UserId>().ok();
    let found = id.and_then(|id| ctx.cloud.users.get(&id));
    ensure(ctx, id == Some(ctx.caller()?.user) || may_read(ctx, found.map(|u| u.domain)))?;
    found.ok_or_else(|| missing(ctx, "user", ctx.param("user_id")))
}

fn manageable(ctx: &Ctx) -> Result<&Arc<User>, Fault> {
    let found = ctx.param("user_id").parse::<UserId>().ok().and_then(|id| ctx.cloud.users.get(&id));
    ensure(ctx, may_manage(ctx, found.map(|u| u.domain)))?;
    found.ok_or_else(|| missing(ctx, "user", ctx.param("user_id")))
}

async fn show(ctx: Ctx) -> Reply {
    let user = visible(&ctx)?;
    Ok(Answer::ok(&json!({ "user": view(&ctx, user) })))
}

async fn update(ctx: Ctx) -> Reply {
    let user = manageable(&ctx)?.clone();
    let mut ask = Fields::of(&ctx, "user")?;
    if let Some(domain) = ask.id::<DomainId>("domain_id", "domain")?
        && domain != Some(user.domain)
    {
        return Err(Fault::bad_request("Cannot change Domain ID."));
    }
    let options = ask.options(&OPTIONS)?.map(|new| {
        let mut all = user.options.clone();
        all.extend(new);
        all
    });
    let command = UpdateUser {
        id: user.id,
        name: ask.name(255)?,
        enabled: ask.flag("enabled")?,
        description: ask.nullable("description")?,
        default_project: ask.id("default_project_id", "project")?,
        options,
        password_hash: new_password(&ctx, &mut ask).await?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let user = done.cloud.users.get(&user.id).ok_or_else(|| missing(&ctx, "user", user.id))?;
    Ok(Answer::ok(&json!({ "user": view(&ctx, user) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = manageable(&ctx)?.id;
    ctx.run(DeleteUser { id }).await?;
    Ok(Answer::no_content())
}

async fn change_password(ctx: Ctx) -> Reply {
    let mut ask = Fields::of(&ctx, "user")?;
    let original = ask.0.remove("original_password");
    let Some(Value::String(original)) = original else {
        return Err(Fault::bad_request("'original_password' is a required property"));
    };
    if !ask.0.contains_key("password") {
        return Err(Fault::bad_request("'password' is a required property"));
    }
    let user = ctx.param("user_id").parse::<UserId>().ok().and_then(|id| ctx.cloud.users.get(&id)).cloned();
    let hash = user.as_ref().and_then(|u| u.password_hash.clone());
    let right = ctx.app.identity.passwords.check(hash, original).await?;
    let Some(user) = user.filter(|u| right && u.enabled) else { return Err(Fault::unauthorized()) };
    let new_hash = new_password(&ctx, &mut ask).await?.ok_or_else(|| Fault::bad_request("The new password can't be empty."))?;
    let old_hash = user.password_hash.clone().unwrap_or_default();
    // Who knows the password is the user, token or not.
    let actor = Actor::User { user: user.id, project: None, from: ctx.peer.to_string() };
    let context = Context { actor, ..ctx.context() };
    let command = ChangePassword { id: user.id, old_hash, new_hash };
    ctx.trail.is(user.id, None);
    ctx.run_as(context, command).await?;
    Ok(Answer::no_content())
}

async fn groups(ctx: Ctx) -> Reply {
    let user = visible(&ctx)?;
    let own = user.id == ctx.caller()?.user;
    let groups = ctx.cloud.groups.of_user(&user.id).filter_map(|id| ctx.cloud.groups.get(&id));
    let groups = groups.filter(|g| own || listed(&ctx, Some(g.domain)));
    list(&ctx, "groups", groups.map(|g| super::groups::view(&ctx, g)), &["name"])
}

async fn projects(ctx: Ctx) -> Reply {
    let user = visible(&ctx)?;
    let ids = super::auth::projects_of(&ctx.cloud, user.id);
    let views: Vec<Value> = ids.iter().filter_map(|id| ctx.cloud.projects.get(id)).map(|p| super::projects::view(&ctx, p)).collect();
    Ok(Answer::ok(&json!({ "projects": views, "links": list_links(&ctx) })))
}
