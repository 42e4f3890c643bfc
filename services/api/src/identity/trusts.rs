//! Trusts over HTTP. Source: identity api-ref ext, "OS-TRUST". Redelegation is not offered: it is refused, never ignored.

use super::application_credentials::{role, unrestricted};
use super::common::{Fields, ensure, link, list, missing, path_id};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strata_conductor::decide::trust::{CreateTrust, DeleteTrust};
use strata_events::{ProjectId, RoleId, Timestamp, TrustId, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::trust::Trust;

pub fn routes(r: &mut Routes) {
    r.get("/v3/OS-TRUST/trusts", index, Rule::token("identity:list_trusts"));
    r.post("/v3/OS-TRUST/trusts", create, Rule::token("identity:create_trust"));
    r.get("/v3/OS-TRUST/trusts/{trust_id}", show, Rule::token("identity:get_trust"));
    r.delete("/v3/OS-TRUST/trusts/{trust_id}", delete, Rule::token("identity:delete_trust"));
    r.get("/v3/OS-TRUST/trusts/{trust_id}/roles", roles, Rule::token("identity:list_roles_for_trust"));
    r.get("/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", one_role, Rule::token("identity:get_role_for_trust"));
}

fn summary(ctx: &Ctx, trust: &Trust) -> Value {
    json!({
        "id": trust.id,
        "trustor_user_id": trust.trustor,
        "trustee_user_id": trust.trustee,
        "project_id": trust.project,
        "impersonation": trust.impersonation,
        "expires_at": trust.expires_at.map(|t| t.micros()),
        "deleted_at": null,
        "remaining_uses": trust.remaining_uses,
        "redelegated_trust_id": null,
        "redelegation_count": 0,
        "links": link(ctx, format_args!("OS-TRUST/trusts/{}", trust.id)),
    })
}

fn role_views(ctx: &Ctx, cloud: &Cloud, trust: &Trust) -> Vec<Value> {
    trust.roles.iter().filter_map(|id| cloud.roles.get(id)).map(|r| super::roles::view(ctx, r)).collect()
}

fn view(ctx: &Ctx, cloud: &Cloud, trust: &Trust) -> Value {
    let mut view = summary(ctx, trust);
    view["roles"] = json!(role_views(ctx, cloud, trust));
    view["roles_links"] = json!({
        "self": format!("{}/OS-TRUST/trusts/{}/roles", super::common::root(ctx), trust.id), "next": null, "previous": null,
    });
    view
}

/// Readers of the whole system, and admins, see every trust; others those that they are part of.
fn sees_all(ctx: &Ctx) -> bool {
    super::common::may_read(ctx, None) && super::common::unbound(ctx).is_ok()
}

async fn index(ctx: Ctx) -> Reply {
    let me = ctx.caller()?.user;
    let named = |key: &str| ctx.query.get(key).map(|v| v.parse::<UserId>().ok());
    let (trustor, trustee) = (named("trustor_user_id"), named("trustee_user_id"));
    ensure(&ctx, sees_all(&ctx) || trustor == Some(Some(me)) || trustee == Some(Some(me)))?;
    let found =
        ctx.cloud.trusts.values().filter(|t| trustor.is_none_or(|u| u == Some(t.trustor)) && trustee.is_none_or(|u| u == Some(t.trustee)));
    list(&ctx, "trusts", found.map(|t| summary(&ctx, t)), &[])
}

fn found(ctx: &Ctx) -> Result<&Trust, Fault> {
    let trust = ctx.param("trust_id").parse::<TrustId>().ok().and_then(|id| ctx.cloud.trusts.get(&id));
    let me = ctx.caller()?.user;
    ensure(ctx, trust.is_none_or(|t| t.trustor == me || t.trustee == me || sees_all(ctx)))?;
    trust.filter(|t| t.expires_at.is_none_or(|at| ctx.now < at)).map(|t| &**t).ok_or_else(|| missing(ctx, "trust", ctx.param("trust_id")))
}

async fn create(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let caller = ctx.caller()?;
    let mut ask = Fields::of(&ctx, "trust")?;
    let required = |key: &str| Fault::bad_request(format!("'{key}' is a required property"));
    let trustor: UserId = ask.id("trustor_user_id", "user")?.flatten().ok_or_else(|| required("trustor_user_id"))?;
    let trustee: UserId = ask.id("trustee_user_id", "user")?.flatten().ok_or_else(|| required("trustee_user_id"))?;
    let impersonation = ask.flag("impersonation")?.ok_or_else(|| required("impersonation"))?;
    let project: Option<ProjectId> = ask.id("project_id", "project")?.flatten();
    // One entrusts only what is one's own, in the project of one's token.
    let project = project.or(caller.project()).ok_or_else(|| required("project_id"))?;
    ensure(&ctx, trustor == caller.user && caller.project() == Some(project))?;
    if ask.flag("allow_redelegation")? == Some(true) || ask.0.get("redelegation_count").and_then(Value::as_u64).is_some_and(|n| n > 0) {
        return Err(Fault::forbidden("Redelegation is not allowed in this cloud."));
    }
    let expires_at = ask.text("expires_at")?.map(|t| Timestamp::parse(&t)).transpose();
    let expires_at = expires_at.map_err(|e| Fault::bad_request(format!("Invalid input for field 'expires_at': {e}.")))?;
    let remaining_uses = match ask.0.remove("remaining_uses") {
        None | Some(Value::Null) => None,
        Some(n) => match n.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
            Some(n) => Some(n),
            None => return Err(Fault::bad_request("Invalid input for field 'remaining_uses': a whole number from 1 is expected.")),
        },
    };
    let roles = match ask.0.remove("roles") {
        Some(Value::Array(named)) if named.len() <= 100 => named.iter().map(|r| role(&ctx, r)).collect::<Result<BTreeSet<RoleId>, _>>()?,
        None => BTreeSet::new(),
        Some(_) => return Err(Fault::bad_request("Invalid input for field 'roles': a list of roles is expected.")),
    };
    // A token may be narrower than its user; what is made with it is not wider.
    if let Some(role) = roles.iter().find(|r| !caller.roles.iter().any(|(id, _)| id == *r)) {
        return Err(Fault::forbidden(format!("Could not find role: {role}: your token has it not in this project.")));
    }
    let id = TrustId(crate::frame::new_uuid());
    let roles = roles.into_iter().collect();
    let command = CreateTrust { id, trustor, trustee, project, impersonation, roles, expires_at, remaining_uses };
    let done = ctx.run(command).await?;
    let trust = done.cloud.trusts.get(&id).ok_or_else(|| missing(&ctx, "trust", id))?;
    Ok(Answer::created(&json!({ "trust": view(&ctx, &done.cloud, trust) })))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "trust": view(&ctx, &ctx.cloud, found(&ctx)?) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let trust = found(&ctx)?;
    let cloud_wide = ctx.is_admin() && sees_all(&ctx);
    ensure(&ctx, cloud_wide || trust.trustor == ctx.caller()?.user)?;
    ctx.run(DeleteTrust { id: trust.id }).await?;
    Ok(Answer::no_content())
}

async fn roles(ctx: Ctx) -> Reply {
    list(&ctx, "roles", role_views(&ctx, &ctx.cloud, found(&ctx)?).into_iter(), &["name"])
}

async fn one_role(ctx: Ctx) -> Reply {
    let trust = found(&ctx)?;
    let id: RoleId = path_id(&ctx, "role_id", "role")?;
    let role = ctx.cloud.roles.get(&id).filter(|_| trust.roles.contains(&id));
    let role = role.ok_or_else(|| missing(&ctx, "role", id))?;
    Ok(Answer::ok(&json!({ "role": super::roles::view(&ctx, role) })))
}
