//! Policies over HTTP: rule sets that other services may read. Source: identity api-ref, "Policies".

use super::common::{Fields, link, list, missing, path_id, unbound, with_extra};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use strata_conductor::decide::policy::{CreatePolicy, DeletePolicy, UpdatePolicy};
use strata_events::PolicyId;
use strata_projections::cloud::policy::Policy;

/// The longest rule set in bytes: with all else it must fit an event.
const BLOB: usize = 32 * 1024;

pub fn routes(r: &mut Routes) {
    const READ: &[Who] = &[Who::Admin, Who::SystemReader];
    let one = "/v3/policies/{policy_id}";
    r.get("/v3/policies", index, Rule::of("identity:list_policies", READ));
    r.post("/v3/policies", create, Rule::admin("identity:create_policy"));
    r.get(one, show, Rule::of("identity:get_policy", READ));
    r.patch(one, update, Rule::admin("identity:update_policy"));
    r.delete(one, delete, Rule::admin("identity:delete_policy"));
}

fn view(ctx: &Ctx, policy: &Policy) -> Value {
    let view = json!({
        "id": policy.id,
        "blob": policy.blob,
        "type": policy.kind,
        "links": link(ctx, format_args!("policies/{}", policy.id)),
    });
    with_extra(view, &policy.extra)
}

async fn index(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    list(&ctx, "policies", ctx.cloud.policies.values().map(|p| view(&ctx, p)), &["type"])
}

fn found(ctx: &Ctx) -> Result<&Policy, Fault> {
    unbound(ctx)?;
    let id: PolicyId = path_id(ctx, "policy_id", "policy")?;
    ctx.cloud.policies.get(&id).map(|p| &**p).ok_or_else(|| missing(ctx, "policy", id))
}

fn blob(ask: &mut Fields) -> Result<Option<String>, Fault> {
    match ask.0.remove("blob") {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= BLOB => Ok(Some(text)),
        Some(_) => Err(Fault::bad_request(format!("Invalid input for field 'blob': a string of at most {BLOB} bytes is expected."))),
    }
}

fn kind(ask: &mut Fields) -> Result<Option<String>, Fault> {
    match ask.0.remove("type") {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= 255 => Ok(Some(text)),
        Some(_) => Err(Fault::bad_request("Invalid input for field 'type': a string of at most 255 characters is expected.")),
    }
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "policy")?;
    let required = |key: &str| Fault::bad_request(format!("'{key}' is a required property"));
    let id = PolicyId(crate::frame::new_uuid());
    let command = CreatePolicy {
        id,
        blob: blob(&mut ask)?.ok_or_else(|| required("blob"))?,
        kind: kind(&mut ask)?.ok_or_else(|| required("type"))?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let policy = done.cloud.policies.get(&id).ok_or_else(|| missing(&ctx, "policy", id))?;
    Ok(Answer::created(&json!({ "policy": view(&ctx, policy) })))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "policy": view(&ctx, found(&ctx)?) })))
}

async fn update(ctx: Ctx) -> Reply {
    let id = found(&ctx)?.id;
    let mut ask = Fields::of(&ctx, "policy")?;
    if ask.0.get("id").is_some_and(|i| *i != json!(id)) {
        return Err(Fault::bad_request("Cannot change policy ID"));
    }
    let command = UpdatePolicy { id, blob: blob(&mut ask)?, kind: kind(&mut ask)?, extra: ask.extra()? };
    let done = ctx.run(command).await?;
    let policy = done.cloud.policies.get(&id).ok_or_else(|| missing(&ctx, "policy", id))?;
    Ok(Answer::ok(&json!({ "policy": view(&ctx, policy) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = found(&ctx)?.id;
    ctx.run(DeletePolicy { id }).await?;
    Ok(Answer::no_content())
}
