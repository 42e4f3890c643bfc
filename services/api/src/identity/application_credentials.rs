//! Application credentials over HTTP. Source: identity api-ref, "Application credentials". The secret is told once, and only
//! its hash is kept.

use super::common::{Fields, ensure, forbidden, link, list, missing, own, path_id};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strata_conductor::decide::application_credential::{Allowed, CreateApplicationCredential, DeleteApplicationCredential};
use strata_events::{AccessRuleId, ApplicationCredentialId, RoleId, Timestamp, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::application_credential::ApplicationCredential;

pub fn routes(r: &mut Routes) {
    let all = "/v3/users/{user_id}/application_credentials";
    let one = "/v3/users/{user_id}/application_credentials/{application_credential_id}";
    r.get(all, index, Rule::token("identity:list_application_credentials"));
    r.post(all, create, Rule::token("identity:create_application_credential"));
    r.get(one, show, Rule::token("identity:get_application_credential"));
    r.delete(one, delete, Rule::token("identity:delete_application_credential"));
}

fn view(ctx: &Ctx, cloud: &Cloud, credential: &ApplicationCredential) -> Value {
    let roles = credential.roles.iter().filter_map(|id| cloud.roles.get(id));
    let mut view = json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "project_id": credential.project,
        "user_id": credential.user,
        "roles": roles.map(|r| json!({ "id": r.id, "name": r.name, "domain_id": r.domain })).collect::<Vec<_>>(),
        "expires_at": credential.expires_at.map(|t| t.naive_micros()),
        "unrestricted": credential.unrestricted,
        "system": null,
        "links": link(ctx, format_args!("users/{}/application_credentials/{}", credential.user, credential.id)),
    });
    if !credential.access_rules.is_empty() {
        let rules = credential.access_rules.iter().filter_map(|id| cloud.access_rules.get(id));
        view["access_rules"] = rules.map(|r| super::access_rules::view(r)).collect();
    }
    view
}

/// A token that was got with a restricted application credential makes and deletes none, nor anything else that logs in.
pub fn unrestricted(ctx: &Ctx) -> Result<(), Fault> {
    let credential = ctx.caller()?.application_credential.and_then(|id| ctx.cloud.application_credentials.get(&id));
    ensure(ctx, credential.is_none_or(|c| c.unrestricted) && !entrusted(ctx))
}

/// Whether the token was got by a trust: who acts for another one makes nothing that outlives the trust.
fn entrusted(ctx: &Ctx) -> bool {
    let token = ctx.header("x-auth-token").unwrap_or_default();
    ctx.app.identity.recognize(&ctx.cloud, ctx.now, token).is_none_or(|(entry, _)| entry.token.trust.is_some())
}

async fn index(ctx: Ctx) -> Reply {
    let user = own(&ctx, false)?;
    let all = ctx.cloud.application_credentials.of(&user);
    list(&ctx, "application_credentials", all.map(|c| view(&ctx, &ctx.cloud, c)), &["name"])
}

fn found(ctx: &Ctx, write: bool) -> Result<&ApplicationCredential, Fault> {
    let user = own(ctx, write)?;
    let id: ApplicationCredentialId = path_id(ctx, "application_credential_id", "Application Credential")?;
    let credential = ctx.cloud.application_credentials.get(&id);
    // Another one's, asked for as one's own, is forbidden as it is when asked for by its owner.
    ensure(ctx, credential.is_none_or(|c| c.user == user))?;
    credential.map(|c| &**c).ok_or_else(|| missing(ctx, "Application Credential", id))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "application_credential": view(&ctx, &ctx.cloud, found(&ctx, false)?) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let (user, id) = found(&ctx, true).map(|c| (c.user, c.id))?;
    ctx.run(DeleteApplicationCredential { user, id }).await?;
    Ok(Answer::no_content())
}

async fn create(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let caller = ctx.caller()?;
    let user = ctx.param("user_id").parse::<UserId>().ok().filter(|u| *u == caller.user).ok_or_else(|| forbidden(&ctx))?;
    let project = caller
        .project()
        .ok_or_else(|| Fault::bad_request("An application credential is for one project: ask with a token that is scoped to it."))?;
    let mut ask = Fields::of(&ctx, "application_credential")?;
    let has: BTreeSet<RoleId> = caller.roles.iter().map(|(id, _)| *id).collect();
    let roles = match ask.0.remove("roles") {
        None | Some(Value::Null) => has.iter().copied().collect(),
        // What the client sends when no role was named.
        Some(Value::Array(named)) if named.is_empty() => has.iter().copied().collect(),
        Some(Value::Array(named)) if named.len() <= 100 => {
            named.iter().map(|r| role(&ctx, r)).collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect()
        }
        Some(_) => return Err(Fault::bad_request("Invalid input for field 'roles': a list of roles is expected.")),
    };
    let expires_at = ask.text("expires_at")?;
    let expires_at = expires_at
        .map(|t| Timestamp::parse(&t))
        .transpose()
        .map_err(|e| Fault::bad_request(format!("Invalid input for field 'expires_at': {e}.")))?;
    let secret = match ask.0.remove("secret") {
        None | Some(Value::Null) => random_secret(),
        Some(Value::String(secret)) if !secret.is_empty() && secret.len() <= super::password::MAX_LENGTH => secret,
        Some(_) => return Err(Fault::bad_request("Invalid input for field 'secret': a string of 1 to 4096 bytes is expected.")),
    };
    let access_rules = match ask.0.remove("access_rules") {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(rules)) if rules.len() <= 100 => rules.iter().map(|r| allowed(&ctx, r)).collect::<Result<_, _>>()?,
        Some(_) => return Err(Fault::bad_request("Invalid input for field 'access_rules': a list of rules is expected.")),
    };
    let id = ApplicationCredentialId(crate::frame::new_uuid());
    let name = ask.needed_name(255)?;
    let description = ask.text("description")?;
    let unrestricted = ask.flag("unrestricted")?.unwrap_or(false);
    if let Some(other) = ask.0.keys().find(|k| !["id", "project_id", "user_id", "links", "system"].contains(&k.as_str())) {
        return Err(Fault::bad_request(format!("Additional properties are not allowed ('{other}' was unexpected)")));
    }
    let secret_hash = ctx.app.identity.passwords.hash(secret.clone()).await?;
    let command = CreateApplicationCredential {
        id,
        user,
        project,
        name,
        description,
        secret_hash,
        roles,
        has,
        expires_at,
        unrestricted,
        access_rules,
    };
    let done = ctx.run(command).await?;
    let credential = done.cloud.application_credentials.get(&id).ok_or_else(|| missing(&ctx, "Application Credential", id))?;
    let mut answer = view(&ctx, &done.cloud, credential);
    answer["secret"] = json!(secret);
    Ok(Answer::created(&json!({ "application_credential": answer })))
}

/// A role by id, or by name among the global ones.
pub fn role(ctx: &Ctx, named: &Value) -> Result<RoleId, Fault> {
    if let Some(id) = named.get("id").and_then(Value::as_str) {
        return id.parse::<RoleId>().ok().filter(|id| ctx.cloud.roles.contains(id)).ok_or_else(|| missing(ctx, "role", id));
    }
    let name = named.get("name").and_then(Value::as_str).ok_or_else(|| Fault::bad_request("A role is named by its id or its name."))?;
    ctx.cloud.roles.by_name(None, name).map(|r| r.id).ok_or_else(|| missing(ctx, "role", name))
}

fn allowed(ctx: &Ctx, rule: &Value) -> Result<Allowed, Fault> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).filter(|t| !t.is_empty() && t.len() <= 128).map(str::to_owned);
    if let Some(id) = text("id") {
        let known = id
            .parse::<AccessRuleId>()
            .ok()
            .and_then(|id| ctx.cloud.access_rules.get(&id))
            .filter(|r| Ok(r.user) == ctx.caller().map(|c| c.user));
        let known = known.ok_or_else(|| missing(ctx, "access rule", id))?;
        return Ok(Allowed { id: known.id, service: known.service.clone(), method: known.method.clone(), path: known.path.clone() });
    }
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    match (text("service"), text("method").filter(|m| methods.contains(&m.as_str())), text("path").filter(|p| p.starts_with('/'))) {
        (Some(service), Some(method), Some(path)) => Ok(Allowed { id: AccessRuleId(crate::frame::new_uuid()), service, method, path }),
        _ => Err(Fault::bad_request(
            "An access rule has a service (its type), a method and a path that begins with '/', each of at most 128 characters.",
        )),
    }
}

pub fn random_secret() -> String {
    let mut bytes = [0; 64];
    // The kernel's generator fails only before it is seeded, in early boot; no secret may be made then.
    getrandom::fill(&mut bytes).unwrap_or_else(|e| panic!("no random bytes from the kernel: {e}"));
    URL_SAFE_NO_PAD.encode(bytes)
}
