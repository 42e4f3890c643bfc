//! Host aggregates. Source: compute api-ref, "Host aggregates (os-aggregates)". None can be made yet: a host tells its zone when
//! it joins. Clients ask for the list whenever they show a hypervisor.

use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::json;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-aggregates", list, Rule::admin("os_compute_api:os-aggregates:index"));
    r.get("/v2.1/os-aggregates/{id}", show, Rule::admin("os_compute_api:os-aggregates:show"));
    r.delete("/v2.1/os-aggregates/{id}", show, Rule::admin("os_compute_api:os-aggregates:delete"));
}

async fn list(_: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "aggregates": [] })))
}

async fn show(ctx: Ctx) -> Reply {
    Err(Fault::not_found(format!("Aggregate {} could not be found.", ctx.param("id"))))
}
