//! `GET /strata/v1/status`: how far the log is, what is in transit, which hosts are up. For operators and dashboards.

use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Value, json};

/// The most unfinished things that one answer names.
const NAMED: usize = 100;

pub fn routes(r: &mut Routes) {
    r.get("/v1/status", show, Rule::admin("strata:status"));
}

async fn show(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    let hosts: Vec<Value> = cloud
        .hosts
        .values()
        .map(|h| json!({"name": h.name, "up": h.up, "enabled": h.enabled, "forced_down": h.forced_down, "instances": h.used.instances}))
        .collect();
    let in_transit: Vec<Value> = cloud
        .instances
        .in_transit()
        .take(NAMED)
        .map(|i| {
            json!({"kind": "instance", "id": i.id, "state": format!("{:?}", i.state), "task": i.task.map(|t| format!("{t:?}")),
                "host": i.host, "deadline": i.deadline.map(|d| d.micros())})
        })
        .collect();
    Ok(Answer::ok(&json!({
        "position": cloud.position,
        "recorded_at": cloud.at.micros(),
        "instances": cloud.instances.len(),
        "ports": cloud.ports.len(),
        "hosts": hosts,
        "in_transit": in_transit,
    })))
}
