//! The compute service of each host. Source: compute api-ref, "Compute services (os-services)". 2.11 forced_down, 2.53 UUIDs,
//! one PUT for all.

use super::hypervisors::{id_of, number_of};
use super::servers::{boolean, invalid};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::host::{DisableHost, EnableHost, ForceDownHost, RemoveHost};
use strata_events::HostName;
use strata_projections::Cloud;
use strata_projections::cloud::host::Host;

const BINARY: &str = "nova-compute";

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-services", list, Rule::admin("os_compute_api:os-services:list"));
    r.put("/v2.1/os-services/{id}", update, Rule::admin("os_compute_api:os-services:update"));
    r.delete("/v2.1/os-services/{id}", delete, Rule::admin("os_compute_api:os-services:delete"));
}

fn view(ctx: &Ctx, host: &Host) -> Value {
    let new = ctx.version >= Microversion(2, 53);
    let mut view = json!({
        "id": if new { json!(id_of(BINARY, &host.name)) } else { json!(number_of(ctx, &host.name)) },
        "binary": BINARY,
        "host": host.name,
        "zone": host.zone,
        "status": if host.enabled { "enabled" } else { "disabled" },
        "state": if host.up && !host.forced_down { "up" } else { "down" },
        "updated_at": host.updated_at.naive_micros(),
        "disabled_reason": host.disabled_reason,
    });
    if ctx.version >= Microversion(2, 11) {
        view["forced_down"] = json!(host.forced_down);
    }
    view
}

async fn list(ctx: Ctx) -> Reply {
    let (host, binary) = (ctx.query.get("host"), ctx.query.get("binary"));
    let hosts = ctx.cloud.hosts.values().filter(|h| host.is_none_or(|n| n.is_empty() || h.name.0 == n));
    let hosts = hosts.filter(|_| binary.is_none_or(|b| b.is_empty() || b == BINARY));
    let views: Vec<Value> = hosts.map(|h| view(&ctx, h)).collect();
    Ok(Answer::ok(&json!({ "services": views })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    status: Option<String>,
    disabled_reason: Option<String>,
    forced_down: Option<Value>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Old {
    host: String,
    binary: String,
    disabled_reason: Option<String>,
    forced_down: Option<Value>,
}

async fn update(ctx: Ctx) -> Reply {
    if ctx.version >= Microversion(2, 53) { by_id(ctx).await } else { by_name(ctx).await }
}

fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Host>, Fault> {
    let wanted = ctx.param("id");
    let new = ctx.version >= Microversion(2, 53);
    if new && wanted.parse::<uuid::Uuid>().is_err() {
        return Err(Fault::bad_request(format!("Invalid uuid {wanted}")));
    }
    let host = cloud.hosts.values().enumerate().find(|(at, h)| match new {
        true => id_of(BINARY, &h.name).to_string() == wanted,
        false => (at + 1).to_string() == wanted,
    });
    host.map(|(_, h)| h).ok_or_else(|| Fault::not_found(format!("Service {wanted} could not be found.")))
}

async fn by_id(ctx: Ctx) -> Reply {
    let ask: Change = ctx.typed("service", ctx.object()?.into())?;
    let host = find(&ctx, &ctx.cloud)?.name.clone();
    let reason = reason(ask.disabled_reason)?;
    let forced_down = ask.forced_down.map(|v| boolean("forced_down", &v)).transpose()?;
    if ask.status.is_none() && forced_down.is_none() {
        return Err(Fault::bad_request("No updates were requested. Fields 'status' or 'forced_down' should be specified."));
    }
    match ask.status.as_deref() {
        Some("enabled") if reason.is_some() => {
            return Err(Fault::bad_request("Specifying 'disabled_reason' when status is 'enabled' is invalid."));
        }
        Some("enabled") => drop(ctx.run(EnableHost { host: host.clone() }).await?),
        Some("disabled") => drop(ctx.run(DisableHost { host: host.clone(), reason }).await?),
        Some(other) => return Err(invalid("status", &format!("Value: {other}. It must be enabled or disabled."))),
        None => {}
    }
    if let Some(forced_down) = forced_down {
        ctx.run(ForceDownHost { host: host.clone(), forced_down }).await?;
    }
    let cloud = ctx.fresh().await?;
    let host = cloud.hosts.get(&host).ok_or_else(|| missing(&host))?;
    Ok(Answer::ok(&json!({ "service": view(&ctx, host) })))
}

/// Before 2.53 the last segment of the path is what to do.
async fn by_name(ctx: Ctx) -> Reply {
    let ask: Old = ctx.typed("service", ctx.object()?.into())?;
    if ask.binary != BINARY {
        let message = format!("Updating a {} service is not supported. Only {BINARY} services can be updated.", ask.binary);
        return Err(Fault::bad_request(message));
    }
    let host = HostName::parse(&ask.host).ok().filter(|h| ctx.cloud.hosts.contains(h));
    let host = host.ok_or_else(|| Fault::not_found(format!("Could not find binary {BINARY} on host {}.", ask.host)))?;
    let mut answer = json!({ "host": ask.host, "binary": BINARY });
    match ctx.param("id") {
        "enable" => {
            ctx.run(EnableHost { host }).await?;
            answer["status"] = json!("enabled");
        }
        "disable" => {
            ctx.run(DisableHost { host, reason: None }).await?;
            answer["status"] = json!("disabled");
        }
        "disable-log-reason" => {
            let reason = reason(ask.disabled_reason)?.ok_or_else(|| Fault::bad_request("Missing disabled reason field"))?;
            ctx.run(DisableHost { host, reason: Some(reason.clone()) }).await?;
            answer["status"] = json!("disabled");
            answer["disabled_reason"] = json!(reason);
        }
        "force-down" if ctx.version >= Microversion(2, 11) => {
            let value = ask.forced_down.ok_or_else(|| Fault::bad_request("Missing forced_down field"))?;
            let forced_down = boolean("forced_down", &value)?;
            ctx.run(ForceDownHost { host, forced_down }).await?;
            answer["forced_down"] = json!(forced_down);
        }
        _ => return Err(Fault::not_found("Unknown action")),
    }
    Ok(Answer::ok(&json!({ "service": answer })))
}

fn reason(text: Option<String>) -> Result<Option<String>, Fault> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > 255 => Err(invalid("disabled_reason", "It must have 1 to 255 characters.")),
        text => Ok(text),
    }
}

fn missing(host: &HostName) -> Fault {
    Fault::not_found(format!("Compute host {host} could not be found."))
}

async fn delete(ctx: Ctx) -> Reply {
    let host = find(&ctx, &ctx.cloud)?.name.clone();
    ctx.run(RemoveHost { host }).await?;
    Ok(Answer::no_content())
}
