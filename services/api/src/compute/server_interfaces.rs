//! The ports of a server, plugged in and out while it lives. Source: compute api-ref, "Port interfaces (servers, os-interface)".

use super::server_create::{default_group_ids, port_seed};
use super::servers::{find, unexpected};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use strata_conductor::decide::instance::{AttachInterface, DetachInterface, NicTarget};
use strata_events::{NetworkId, PortId};
use strata_projections::cloud::port::Port;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/os-interface", list, Rule::reader("os_compute_api:os-attach-interfaces:list"));
    r.post("/v2.1/servers/{id}/os-interface", create, Rule::member("os_compute_api:os-attach-interfaces:create"));
    r.get("/v2.1/servers/{id}/os-interface/{port}", show, Rule::reader("os_compute_api:os-attach-interfaces:show"));
    r.delete("/v2.1/servers/{id}/os-interface/{port}", delete, Rule::member("os_compute_api:os-attach-interfaces:delete"));
}

fn view(port: &Port, version: Microversion) -> Value {
    let state = if port.plugged() && port.attributes.admin_state_up { "ACTIVE" } else { "DOWN" };
    let fixed_ips: Vec<Value> = port.attributes.fixed_ips.iter().map(|f| json!({ "subnet_id": f.subnet, "ip_address": f.ip })).collect();
    let mut view = json!({
        "port_state": state, "fixed_ips": fixed_ips, "port_id": port.id, "net_id": port.network, "mac_addr": port.mac,
    });
    if version >= Microversion(2, 70) {
        view["tag"] = Value::Null;
    }
    view
}

async fn list(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let ports = instance.spec.ports.iter().filter_map(|id| ctx.cloud.ports.get(id));
    let views: Vec<Value> = ports.map(|p| view(p, ctx.version)).collect();
    Ok(Answer::ok(&json!({ "interfaceAttachments": views })))
}

async fn show(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let text = ctx.param("port");
    let id: Option<PortId> = text.parse().ok().filter(|id| instance.spec.ports.contains(id));
    let missing = || Fault::not_found(format!("Instance {} does not have a port with id {text}", instance.id));
    let port = id.and_then(|id| ctx.cloud.ports.get(&id)).ok_or_else(missing)?;
    Ok(Answer::ok(&json!({ "interfaceAttachment": view(port, ctx.version) })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Attach {
    net_id: Option<NetworkId>,
    port_id: Option<PortId>,
    fixed_ips: Option<Vec<Fixed>>,
    tag: Option<String>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    ip_address: IpAddr,
}

async fn create(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let id = instance.id;
    let ask: Attach = if ctx.object()?.is_empty() { Attach::default() } else { ctx.body("interfaceAttachment")? };
    if ask.tag.is_some() {
        return Err(if ctx.version < Microversion(2, 49) {
            unexpected("interfaceAttachment", "tag")
        } else {
            Fault::bad_request("Device tags are not supported by this cloud: leave tag out.")
        });
    }
    let fixed: Vec<IpAddr> = ask.fixed_ips.iter().flatten().map(|f| f.ip_address).collect();
    if fixed.len() > 1 {
        return Err(Fault::bad_request("At most one fixed_ip is taken."));
    }
    let target = match (ask.port_id, ask.net_id) {
        (Some(_), Some(_)) => return Err(Fault::bad_request("Must not input both network_id and port_id")),
        (Some(_), None) if !fixed.is_empty() => return Err(Fault::bad_request("Must not input both port_id and fixed_ips")),
        (Some(port), None) => NicTarget::Port(port),
        (None, Some(network)) => NicTarget::Network { id: network, fixed_ip: fixed.first().copied() },
        (None, None) if !fixed.is_empty() => return Err(Fault::bad_request("Must input network_id when request IP address")),
        (None, None) => NicTarget::Network { id: only_network(&ctx, instance)?, fixed_ip: None },
    };
    let seed = port_seed();
    let port = match &target {
        NicTarget::Port(port) => *port,
        NicTarget::Network { .. } => seed.id,
    };
    let done = ctx.run(AttachInterface { id, seed, default_group: default_group_ids(), target, admin: ctx.is_admin() }).await?;
    let port = done.cloud.ports.get(&port).ok_or_else(|| Fault::not_found(format!("Port id {port} could not be found.")))?;
    Ok(Answer::ok(&json!({ "interfaceAttachment": view(port, ctx.version) })))
}

/// The network that is meant when none is said.
fn only_network(ctx: &Ctx, instance: &strata_projections::cloud::instance::Instance) -> Result<NetworkId, Fault> {
    let networks = ctx.cloud.networks.values().filter(|n| n.project == instance.project || n.attributes.shared);
    let networks: Vec<NetworkId> = networks.filter(|n| !n.attributes.external).map(|n| n.id).collect();
    match networks[..] {
        [only] => Ok(only),
        [] => Err(Fault::bad_request("No suitable network found: name a network or a port.")),
        _ => Err(Fault::conflict("Multiple possible networks found, use a Network ID to be more specific.")),
    }
}

async fn delete(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    let text = ctx.param("port");
    let port = text.parse().map_err(|_| Fault::not_found(format!("Port id {text} could not be found.")))?;
    ctx.run(DetachInterface { id, port, admin: ctx.is_admin() }).await?;
    Ok(Answer::empty(202))
}
