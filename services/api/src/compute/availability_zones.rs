//! Availability zones: the hosts tell theirs when they join. Source: compute api-ref, "Availability zones
//! (os-availability-zone)".

use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use strata_projections::cloud::host::Host;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-availability-zone", list, Rule::token("os_compute_api:os-availability-zone:list"));
    r.get("/v2.1/os-availability-zone/detail", detail, Rule::admin("os_compute_api:os-availability-zone:detail"));
}

fn zones(ctx: &Ctx) -> BTreeMap<&str, Vec<&Arc<Host>>> {
    let mut zones: BTreeMap<&str, Vec<&Arc<Host>>> = BTreeMap::new();
    for host in ctx.cloud.hosts.values() {
        zones.entry(&host.zone).or_default().push(host);
    }
    zones
}

fn view(zone: &str, hosts: &[&Arc<Host>], detailed: bool) -> Value {
    let services = |h: &Host| {
        let up = h.up && !h.forced_down;
        json!({ "nova-compute": { "active": h.enabled, "available": up, "updated_at": h.updated_at.naive_micros() } })
    };
    let detail: Option<Map<String, Value>> = detailed.then(|| hosts.iter().map(|h| (h.name.0.clone(), services(h))).collect());
    json!({ "zoneName": zone, "zoneState": { "available": hosts.iter().any(|h| h.enabled) }, "hosts": detail })
}

fn answer(ctx: &Ctx, detailed: bool) -> Reply {
    let views: Vec<Value> = zones(ctx).iter().map(|(zone, hosts)| view(zone, hosts, detailed)).collect();
    Ok(Answer::ok(&json!({ "availabilityZoneInfo": views })))
}

async fn list(ctx: Ctx) -> Reply {
    answer(&ctx, false)
}

async fn detail(ctx: Ctx) -> Reply {
    answer(&ctx, true)
}
