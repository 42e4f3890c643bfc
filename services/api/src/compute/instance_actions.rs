//! What was asked of a server, and how it went. Source: compute api-ref, "Servers actions (servers, os-instance-actions)".
//! 2.51 events for owners, 2.58 updated_at and paging, 2.62 host of an event, 2.84 its details.

use super::instance_history::History;
use super::server_list::next_link;
use super::server_view::host_id;
use super::servers::find;
use crate::frame::{Answer, Ctx, Fault, Microversion, Page, Reply, Routes, Rule};
use serde_json::{Value, json};
use strata_events::Timestamp;
use strata_projections::cloud::instance::{Action, Step};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/os-instance-actions", list, Rule::reader("os_compute_api:os-instance-actions:list"));
    r.get("/v2.1/servers/{id}/os-instance-actions/{request}", show, Rule::reader("os_compute_api:os-instance-actions:show"));
}

fn view(instance: &History, action: &Action, version: Microversion) -> Value {
    let mut view = json!({
        "action": action.action,
        "instance_uuid": instance.id,
        "request_id": action.request_id,
        "user_id": action.user.unwrap_or(instance.user),
        "project_id": action.project.unwrap_or(instance.project),
        "start_time": action.start.naive_micros(),
        "message": action.message.as_ref().map(|_| "Error"),
    });
    if version >= Microversion(2, 58) {
        view["updated_at"] = json!(action.updated.naive_micros());
    }
    view
}

fn event(ctx: &Ctx, instance: &History, action: &Action, step: &Step) -> Value {
    let failed = step.result.as_deref() == Some("Error");
    let mut view = json!({
        "event": step.name,
        "start_time": step.start.naive_micros(),
        "finish_time": step.finish.map(|t| t.naive_micros()),
        "result": step.result,
    });
    if ctx.is_admin() {
        view["traceback"] = Value::Null;
    }
    if ctx.version >= Microversion(2, 62) {
        view["hostId"] = json!(step.host.as_ref().map(|h| host_id(&instance.project, h)).unwrap_or_default());
        if ctx.is_admin() {
            view["host"] = json!(step.host.as_ref().map_or("", |h| h.0.as_str()));
        }
    }
    if ctx.version >= Microversion(2, 84) {
        view["details"] = json!(action.message.as_ref().filter(|_| failed));
    }
    view
}

/// A server's history; from 2.21 on also that of one that is gone.
async fn history(ctx: &Ctx) -> Result<History, Fault> {
    let missing = match find(ctx, &ctx.cloud) {
        Ok(instance) => return Ok(History::of(instance)),
        Err(missing) => missing,
    };
    let gone = ctx.param("id").parse().ok().filter(|id| ctx.version >= Microversion(2, 21) && !ctx.cloud.instances.contains(id));
    let Some(id) = gone else { return Err(missing) };
    History::read(ctx, id).await?.filter(|h| ctx.sees(&h.project)).ok_or(missing)
}

async fn list(ctx: Ctx) -> Reply {
    let instance = &history(&ctx).await?;
    let paged = ctx.version >= Microversion(2, 58);
    let page = if paged { Page::of(&ctx.query, 1000)? } else { Page { limit: 1000, marker: None } };
    let time = |key: &str, minor: u16| {
        let bad = |_| Fault::bad_request(format!("Invalid input for query parameters {key}. It is not a 'date-time'"));
        ctx.query.get(key).filter(|_| ctx.version >= Microversion(2, minor)).map(|t| Timestamp::parse(t).map_err(bad)).transpose()
    };
    let (since, before) = (time("changes-since", 58)?, time("changes-before", 66)?);
    if since.zip(before).is_some_and(|(since, before)| before < since) {
        return Err(Fault::bad_request("The value of changes-since must be less than or equal to changes-before."));
    }
    let newest_first = instance.actions.iter().rev();
    let chosen = newest_first.filter(|a| since.is_none_or(|t| a.updated >= t) && before.is_none_or(|t| a.updated <= t));
    let cut = page.cut(chosen, |a| a.request_id.clone())?;
    let views: Vec<Value> = cut.items.iter().map(|a| view(instance, a, ctx.version)).collect();
    let mut answer = json!({ "instanceActions": views });
    if let Some(last) = cut.items.last().filter(|_| cut.more && paged) {
        answer["links"] = json!([next_link(&ctx, &last.request_id)]);
    }
    Ok(Answer::ok(&answer))
}

async fn show(ctx: Ctx) -> Reply {
    let instance = &history(&ctx).await?;
    let request = ctx.param("request");
    let action = instance.actions.iter().find(|a| a.request_id == request);
    let action = action.ok_or_else(|| Fault::not_found(format!("Action {request} not found")))?;
    let mut view = view(instance, action, ctx.version);
    if ctx.is_admin() || ctx.version >= Microversion(2, 51) {
        view["events"] = action.steps.iter().map(|s| event(&ctx, instance, action, s)).collect();
    }
    Ok(Answer::ok(&json!({ "instanceAction": view })))
}
