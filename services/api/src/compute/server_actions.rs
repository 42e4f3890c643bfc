//! `POST /servers/{id}/action`: one key of the body names the action. Source: compute api-ref, "Servers - run an action".

use super::servers::{find, invalid};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Rule};
use serde_json::Value;
use strata_conductor::decide::instance::{ChangeSecurityGroup, DeleteInstance, LockInstance, OperateInstance, ResetState, UnlockInstance};
use strata_events::instance::Operation;
use strata_projections::cloud::instance::Instance;
use strata_writer::nats::AskError;

pub async fn act(ctx: Ctx) -> Reply {
    let body = ctx.object()?;
    let mut entries = body.into_iter();
    let (Some((action, value)), None) = (entries.next(), entries.next()) else {
        return Err(Fault::bad_request("Malformed request body: it must hold exactly one action."));
    };
    let instance = find(&ctx, &ctx.cloud)?;
    let id = instance.id;
    let admin = ctx.is_admin();
    let operation = match action.as_str() {
        "os-start" => Operation::Start,
        "os-stop" => Operation::Stop,
        "pause" => Operation::Pause,
        "unpause" => Operation::Unpause,
        "suspend" => Operation::Suspend,
        "resume" => Operation::Resume,
        "reboot" => match value.get("type").and_then(Value::as_str) {
            Some("SOFT" | "soft" | "Soft") => Operation::RebootSoft,
            Some("HARD" | "hard" | "Hard") => Operation::RebootHard,
            _ => return Err(invalid("reboot", "'type' is a required property: SOFT or HARD.")),
        },
        "forceDelete" => {
            ctx.run(DeleteInstance { id, admin }).await?;
            return Ok(Answer::empty(202));
        }
        "lock" => {
            let reason = match &value {
                Value::Null => None,
                // Before 2.73 the value means nothing, whatever it is.
                _ if ctx.version < Microversion(2, 73) => None,
                Value::Object(map) => match (map.get("locked_reason"), map.len()) {
                    (Some(Value::String(text)), 1) if !text.is_empty() && text.chars().count() <= 255 => Some(text.clone()),
                    (None, 0) => None,
                    _ => return Err(invalid("lock", "locked_reason must be the only property, of 1 to 255 characters.")),
                },
                _ => return Err(invalid("lock", "It must be null, or an object with locked_reason.")),
            };
            let by_admin = ctx.caller()?.project() != Some(instance.project);
            ctx.run(LockInstance { id, by_admin, reason }).await?;
            return Ok(Answer::empty(202));
        }
        "unlock" => {
            ctx.run(UnlockInstance { id, admin }).await?;
            return Ok(Answer::empty(202));
        }
        "addSecurityGroup" | "removeSecurityGroup" => {
            let group = match value.get("name").and_then(Value::as_str) {
                Some(name) if !name.is_empty() && name.chars().count() <= 255 => name.to_owned(),
                _ => return Err(invalid(&action, "'name' is a required property")),
            };
            ctx.run(ChangeSecurityGroup { id, group, add: action == "addSecurityGroup", admin }).await?;
            return Ok(Answer::empty(202));
        }
        "os-resetState" => {
            ctx.require(Rule::admin("os_compute_api:os-admin-actions:reset_state"))?;
            let error = match value.get("state").and_then(Value::as_str) {
                Some("error") => true,
                Some("active") => false,
                _ => return Err(invalid("os-resetState.state", "It must be 'active' or 'error'.")),
            };
            ctx.run(ResetState { id, error }).await?;
            return Ok(Answer::empty(202));
        }
        "restore" => {
            // What is deleted here is gone at once: no server is ever in the state that this needs.
            let state = instance.state.word();
            return Err(Fault::conflict(format!("Cannot 'restore' instance {id} while it is in vm_state {state}")));
        }
        "os-getConsoleOutput" => {
            ctx.trail.only_looks();
            return console_output(&ctx, instance, &value).await;
        }
        "os-getVNCConsole" | "os-getSPICEConsole" | "os-getSerialConsole" | "os-getRDPConsole" => {
            return Err(Fault::bad_request("Unavailable console type: this cloud serves no consoles yet."));
        }
        "createImage" | "createBackup" | "rebuild" | "resize" | "confirmResize" | "revertResize" | "shelve" | "unshelve"
        | "shelveOffload" | "rescue" | "unrescue" | "migrate" | "os-migrateLive" | "evacuate" | "changePassword" | "trigger_crash_dump"
        | "injectNetworkInfo" | "resetNetwork" => {
            return Err(Fault::bad_request(format!("The action {action} is not supported by this cloud yet.")));
        }
        _ => return Err(Fault::bad_request(format!("There is no such action: {action}"))),
    };
    if !value.is_null()
        && operation != Operation::RebootSoft
        && operation != Operation::RebootHard
        && !value.as_object().is_some_and(|o| o.is_empty())
    {
        return Err(invalid(&action, "It must be null."));
    }
    ctx.run(OperateInstance { id, operation, admin }).await?;
    Ok(Answer::empty(202))
}

/// Source: compute api-ref, "Show Console Output (os-getConsoleOutput Action)".
async fn console_output(ctx: &Ctx, instance: &Instance, value: &Value) -> Reply {
    let length = value.get("length").unwrap_or(&Value::Null);
    let lines = match length {
        Value::Null => None,
        // As text too: older clients send it so.
        Value::Number(_) | Value::String(_) => match length.as_i64().or_else(|| length.as_str()?.parse().ok()) {
            Some(-1) => None,
            Some(n) if n >= 0 => Some(u32::try_from(n).unwrap_or(u32::MAX)),
            _ => return Err(invalid("os-getConsoleOutput.length", "It must be a number of lines, or -1 for all.")),
        },
        _ => return Err(invalid("os-getConsoleOutput.length", "It must be a number of lines, or -1 for all.")),
    };
    let id = instance.id;
    let Some(host) = &instance.host else { return Err(Fault::conflict(format!("Instance {id} is not ready"))) };
    let Some(hosts) = &ctx.app.config.hosts else {
        return Err(Fault::busy("This API can't ask hosts at the moment; nothing was changed. Try again."));
    };
    match strata_writer::nats::console(&hosts.0, host, id, lines).await {
        Ok(output) => Ok(Answer::ok(&serde_json::json!({ "output": output }))),
        Err(AskError::Failed(reason)) => Err(Fault::not_found(format!("Unable to get console: {reason}"))),
        Err(silent) => Err(Fault::busy(format!("Unable to get console: {silent}. Try again."))),
    }
}
