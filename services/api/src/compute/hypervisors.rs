//! Hosts as hypervisors. Source: compute api-ref, "Hypervisors (os-hypervisors)". 2.28 cpu_info as an object, 2.33 paging,
//! 2.53 UUIDs and queries in place of search and servers, 2.88 no resources, uptime instead.

use super::server_list::next_link;
use super::servers::boolean;
use crate::frame::{Answer, Ctx, Fault, Microversion, Page, Reply, Routes, Rule};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use strata_events::HostName;
use strata_projections::cloud::host::Host;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-hypervisors", brief, Rule::admin("os_compute_api:os-hypervisors:list"));
    r.get("/v2.1/os-hypervisors/detail", detail, Rule::admin("os_compute_api:os-hypervisors:list-detail"));
    r.get("/v2.1/os-hypervisors/statistics", statistics, Rule::admin("os_compute_api:os-hypervisors:statistics")).until(2, 87);
    r.get("/v2.1/os-hypervisors/{id}", show, Rule::admin("os_compute_api:os-hypervisors:show"));
    r.get("/v2.1/os-hypervisors/{id}/search", search, Rule::admin("os_compute_api:os-hypervisors:search")).until(2, 52);
    r.get("/v2.1/os-hypervisors/{id}/uptime", uptime, Rule::admin("os_compute_api:os-hypervisors:uptime")).until(2, 87);
    r.get("/v2.1/os-hypervisors/{id}/servers", servers, Rule::admin("os_compute_api:os-hypervisors:servers")).until(2, 52);
}

/// An id that a host's name gives: the same on every replica, without being stored.
pub fn id_of(kind: &str, host: &HostName) -> Uuid {
    let hash = Sha256::digest(format!("{kind}/{host}"));
    uuid::Builder::from_custom_bytes(std::array::from_fn(|i| hash[i])).into_uuid()
}

/// The number that old microversions know a host by: its place in the order of names.
pub fn number_of(ctx: &Ctx, host: &HostName) -> usize {
    ctx.cloud.hosts.values().position(|h| h.name == *host).map_or(0, |at| at + 1)
}

fn id(ctx: &Ctx, kind: &str, host: &HostName) -> Value {
    if ctx.version >= Microversion(2, 53) { json!(id_of(kind, host)) } else { json!(number_of(ctx, host)) }
}

fn text(id: Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn has(ctx: &Ctx, minor: u16) -> bool {
    ctx.version >= Microversion(2, minor)
}

fn view(ctx: &Ctx, host: &Host, detailed: bool, with_servers: bool) -> Value {
    let (inventory, used) = (&host.inventory, host.used);
    let mut view = json!({
        "id": id(ctx, "hypervisor", &host.name),
        "hypervisor_hostname": host.name,
        "state": if host.up && !host.forced_down { "up" } else { "down" },
        "status": if host.enabled { "enabled" } else { "disabled" },
    });
    if detailed {
        view["hypervisor_type"] = json!(inventory.hypervisor_type);
        view["hypervisor_version"] = json!(inventory.hypervisor_version);
        view["host_ip"] = json!(inventory.host_ip);
        view["service"] = json!({ "id": id(ctx, "nova-compute", &host.name), "host": host.name, "disabled_reason": host.disabled_reason });
        if has(ctx, 88) {
            view["uptime"] = Value::Null;
        } else {
            let resources = resources([host].into_iter());
            for (key, value) in resources.as_object().into_iter().flatten() {
                view[key] = value.clone();
            }
            let cpu = json!({ "arch": inventory.cpu_arch, "topology": { "cores": inventory.vcpus, "sockets": 1, "threads": 1 } });
            view["cpu_info"] = if has(ctx, 28) { cpu } else { json!(cpu.to_string()) };
        }
    }
    if with_servers && (used.instances > 0 || has(ctx, 75)) {
        let servers = ctx.cloud.instances.on_host(&host.name);
        view["servers"] = servers.map(|i| json!({ "name": super::server_view::domain_name(i), "uuid": i.id })).collect();
    }
    view
}

/// What hosts have and what is used of it.
fn resources<'a>(hosts: impl Iterator<Item = &'a Host>) -> Value {
    let (mut vcpus, mut memory, mut disk) = (0u64, 0u64, 0u64);
    let mut used = strata_projections::cloud::host::Allocation::default();
    for host in hosts {
        vcpus += u64::from(host.inventory.vcpus);
        memory += host.inventory.memory;
        disk += host.inventory.disk;
        used = used.plus(host.used);
    }
    let free = |all: u64, used: u64| i64::try_from(all).unwrap_or(i64::MAX) - i64::try_from(used).unwrap_or(i64::MAX);
    json!({
        "vcpus": vcpus,
        "vcpus_used": used.vcpus,
        "memory_mb": memory,
        "memory_mb_used": used.memory,
        "free_ram_mb": free(memory, used.memory),
        "local_gb": disk,
        "local_gb_used": used.disk,
        "free_disk_gb": free(disk, used.disk),
        "disk_available_least": free(disk, used.disk),
        "running_vms": used.instances,
        "current_workload": 0,
    })
}

async fn brief(ctx: Ctx) -> Reply {
    list(&ctx, false)
}

async fn detail(ctx: Ctx) -> Reply {
    list(&ctx, true)
}

fn list(ctx: &Ctx, detailed: bool) -> Reply {
    let pattern = ctx.query.get("hypervisor_hostname_pattern").filter(|_| has(ctx, 53));
    let with_servers = match ctx.query.get("with_servers").filter(|_| has(ctx, 53)) {
        Some(text) => boolean("with_servers", &Value::String(text.into()))?,
        None => false,
    };
    if pattern.is_some() && (ctx.query.has("limit") || ctx.query.has("marker")) {
        return Err(Fault::bad_request("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."));
    }
    let page = if has(ctx, 33) { Page::of(&ctx.query, 1000)? } else { Page { limit: usize::MAX, marker: None } };
    let hosts = ctx.cloud.hosts.values().filter(|h| pattern.is_none_or(|p| h.name.0.contains(p)));
    let cut = page.cut(hosts, |h| text(id(ctx, "hypervisor", &h.name)))?;
    if let Some(pattern) = pattern.filter(|_| cut.items.is_empty()) {
        return Err(Fault::not_found(format!("No hypervisor matching '{pattern}' could be found.")));
    }
    let views: Vec<Value> = cut.items.iter().map(|h| view(ctx, h, detailed, with_servers)).collect();
    let mut answer = json!({ "hypervisors": views });
    if let Some(last) = cut.items.last().filter(|_| cut.more) {
        answer["hypervisors_links"] = json!([next_link(ctx, &text(id(ctx, "hypervisor", &last.name)))]);
    }
    Ok(Answer::ok(&answer))
}

async fn statistics(ctx: Ctx) -> Reply {
    let mut sum = resources(ctx.cloud.hosts.values().filter(|h| h.enabled).map(|h| &**h));
    sum["count"] = json!(ctx.cloud.hosts.values().filter(|h| h.enabled).count());
    Ok(Answer::ok(&json!({ "hypervisor_statistics": sum })))
}

fn find(ctx: &Ctx) -> Result<&Arc<Host>, Fault> {
    let wanted = ctx.param("id");
    let host = ctx.cloud.hosts.values().find(|h| text(id(ctx, "hypervisor", &h.name)) == wanted);
    host.ok_or_else(|| Fault::not_found(format!("Hypervisor with ID '{wanted}' could not be found.")))
}

/// Hosts don't tell how long they have run.
async fn uptime(ctx: Ctx) -> Reply {
    let host = find(&ctx)?;
    Err(Fault::new(501, format!("The host {} does not tell its uptime.", host.name)))
}

async fn show(ctx: Ctx) -> Reply {
    let host = find(&ctx)?;
    let with_servers = match ctx.query.get("with_servers").filter(|_| has(&ctx, 53)) {
        Some(text) => boolean("with_servers", &Value::String(text.into()))?,
        None => false,
    };
    Ok(Answer::ok(&json!({ "hypervisor": view(&ctx, host, true, with_servers) })))
}

fn matching(ctx: &Ctx) -> Result<Vec<&Arc<Host>>, Fault> {
    let pattern = ctx.param("id");
    let hosts: Vec<_> = ctx.cloud.hosts.values().filter(|h| h.name.0.contains(pattern)).collect();
    if hosts.is_empty() { Err(Fault::not_found(format!("No hypervisor matching '{pattern}' could be found."))) } else { Ok(hosts) }
}

async fn search(ctx: Ctx) -> Reply {
    let views: Vec<Value> = matching(&ctx)?.into_iter().map(|h| view(&ctx, h, false, false)).collect();
    Ok(Answer::ok(&json!({ "hypervisors": views })))
}

async fn servers(ctx: Ctx) -> Reply {
    let views: Vec<Value> = matching(&ctx)?.into_iter().map(|h| view(&ctx, h, false, true)).collect();
    Ok(Answer::ok(&json!({ "hypervisors": views })))
}
