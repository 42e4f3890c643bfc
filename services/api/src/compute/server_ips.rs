//! A server's addresses. Source: compute api-ref, "Servers IPs (servers, ips)".

use super::server_view::Addresses;
use super::servers::find;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::Serialize;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/ips", list, Rule::reader("os_compute_api:ips:index"));
    r.get("/v2.1/servers/{id}/ips/{label}", show, Rule::reader("os_compute_api:ips:show"));
}

#[derive(Serialize)]
struct All<'a> {
    addresses: Addresses<'a>,
}

async fn list(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    Ok(Answer::ok(&All { addresses: Addresses { cloud: &ctx.cloud, instance, extended: false, only: None } }))
}

async fn show(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let label = ctx.param("label");
    let addresses = Addresses { cloud: &ctx.cloud, instance, extended: false, only: Some(label) };
    if addresses.networks().is_empty() {
        return Err(Fault::not_found("Instance is not a member of specified network"));
    }
    Ok(Answer::ok(&addresses))
}
