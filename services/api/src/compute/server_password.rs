//! The password that a guest left for its owner. Source: compute api-ref, "Servers password (servers, os-server-password)".

use super::servers::find;
use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::json;
use strata_conductor::decide::instance::ClearPassword;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers/{id}/os-server-password", show, Rule::reader("os_compute_api:os-server-password:show"));
    r.delete("/v2.1/servers/{id}/os-server-password", clear, Rule::member("os_compute_api:os-server-password:clear"));
}

async fn show(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    Ok(Answer::ok(&json!({ "password": instance.password.as_deref().unwrap_or_default() })))
}

async fn clear(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    ctx.run(ClearPassword { id }).await?;
    Ok(Answer::no_content())
}
