//! Server groups. Source: compute api-ref, "Server groups (os-server-groups)". 2.13 owner, 2.15 soft policies, 2.64 policy and
//! rules in place of policies and metadata.

use super::servers::{integer, invalid, name};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::server_group::{CreateServerGroup, DeleteServerGroup};
use strata_events::ServerGroupId;
use strata_events::server_group::GroupPolicy;
use strata_projections::Cloud;
use strata_projections::cloud::server_group::ServerGroup;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-server-groups", list, Rule::reader("os_compute_api:os-server-groups:index"));
    r.post("/v2.1/os-server-groups", create, Rule::member("os_compute_api:os-server-groups:create"));
    r.get("/v2.1/os-server-groups/{id}", show, Rule::reader("os_compute_api:os-server-groups:show"));
    r.delete("/v2.1/os-server-groups/{id}", delete, Rule::member("os_compute_api:os-server-groups:delete"));
}

fn view(cloud: &Cloud, group: &ServerGroup, version: Microversion) -> Value {
    let members: Vec<_> = cloud.instances.of_group(&group.id).map(|i| i.id).collect();
    let mut view = json!({ "id": group.id, "name": group.name, "members": members });
    if version >= Microversion(2, 13) {
        view["project_id"] = json!(group.project);
        view["user_id"] = json!(group.user);
    }
    if version >= Microversion(2, 64) {
        view["policy"] = json!(group.policy);
        view["rules"] = match group.max_server_per_host {
            Some(most) => json!({ "max_server_per_host": most }),
            None => json!({}),
        };
    } else {
        view["policies"] = json!([group.policy]);
        view["metadata"] = json!({});
    }
    view
}

fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<ServerGroup>, Fault> {
    let id = ctx.param("id");
    let group = id.parse().ok().and_then(|id| cloud.server_groups.get(&id)).filter(|g| ctx.sees(&g.project));
    group.ok_or_else(|| Fault::not_found(format!("Instance group {id} could not be found.")))
}

async fn list(ctx: Ctx) -> Reply {
    let number = |key: &str| {
        let Some(text) = ctx.query.get(key) else { return Ok(None) };
        text.parse::<usize>()
            .map(Some)
            .map_err(|_| invalid(&format!("query parameters {key}"), &format!("Value: {text}. It must be a whole number from 0.")))
    };
    let (limit, offset) = (number("limit")?.filter(|n| *n > 0).unwrap_or(1000).min(1000), number("offset")?.unwrap_or(0));
    let everybody = ctx.query.has("all_projects") && ctx.is_admin();
    let groups: Vec<&Arc<ServerGroup>> =
        if everybody { ctx.cloud.server_groups.values().collect() } else { ctx.cloud.server_groups.of_project(&ctx.project()?).collect() };
    let views: Vec<Value> = groups.into_iter().skip(offset).take(limit).map(|g| view(&ctx.cloud, g, ctx.version)).collect();
    Ok(Answer::ok(&json!({ "server_groups": views })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    policies: Option<Vec<String>>,
    policy: Option<String>,
    rules: Option<Rules>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    max_server_per_host: Option<Value>,
}

async fn create(ctx: Ctx) -> Reply {
    let ask: NewGroup = ctx.body("server_group")?;
    let new = ctx.version >= Microversion(2, 64);
    let policy = match (ask.policy, ask.policies) {
        (Some(policy), None) if new => policy,
        (None, Some(mut policies)) if !new && policies.len() == 1 => policies.remove(0),
        _ if new => return Err(invalid("server_group", "'policy' is a required property, and 'policies' is no property.")),
        _ => return Err(invalid("server_group.policies", "It must be a list of exactly one policy.")),
    };
    if ask.rules.is_some() && !new {
        return Err(super::servers::unexpected("server_group", "rules"));
    }
    let policy = match policy.as_str() {
        "affinity" => GroupPolicy::Affinity,
        "anti-affinity" => GroupPolicy::AntiAffinity,
        "soft-affinity" if ctx.version >= Microversion(2, 15) => GroupPolicy::SoftAffinity,
        "soft-anti-affinity" if ctx.version >= Microversion(2, 15) => GroupPolicy::SoftAntiAffinity,
        other => return Err(invalid("server_group.policy", &format!("Value: {other}. It is not a policy."))),
    };
    let most = ask.rules.and_then(|r| r.max_server_per_host);
    let max_server_per_host = most.map(|v| integer("max_server_per_host", &v, 1, u64::from(u32::MAX))).transpose()?;
    let command = CreateServerGroup {
        id: ServerGroupId(crate::frame::new_uuid()),
        project: ctx.project()?,
        user: ctx.caller()?.user,
        name: name("name", &ask.name)?,
        policy,
        max_server_per_host: max_server_per_host.and_then(|n| u32::try_from(n).ok()),
    };
    let id = command.id;
    let done = ctx.run(command).await?;
    let group = done.cloud.server_groups.get(&id).ok_or_else(|| Fault::not_found(format!("Instance group {id} could not be found.")))?;
    Ok(Answer::ok(&json!({ "server_group": view(&done.cloud, group, ctx.version) })))
}

async fn show(ctx: Ctx) -> Reply {
    let group = find(&ctx, &ctx.cloud)?;
    Ok(Answer::ok(&json!({ "server_group": view(&ctx.cloud, group, ctx.version) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    ctx.run(DeleteServerGroup { id }).await?;
    Ok(Answer::no_content())
}
