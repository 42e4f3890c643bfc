//! Who may use a flavor that is not public. Source: compute api-ref, "Flavors access (flavors, os-flavor-access, action)".

use super::flavors::find;
use super::servers::invalid;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::{Value, json};
use strata_conductor::decide::flavor::{GrantFlavor, RevokeFlavor};
use strata_events::ProjectId;
use strata_projections::Cloud;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/flavors/{id}/os-flavor-access", list, Rule::admin("os_compute_api:os-flavor-access"));
    r.post("/v2.1/flavors/{id}/action", act, Rule::admin("os_compute_api:os-flavor-access:add_tenant_access"));
}

fn view(ctx: &Ctx, cloud: &Cloud) -> Reply {
    let flavor = find(ctx, cloud)?;
    let access: Vec<Value> = flavor.access.iter().map(|p| json!({ "flavor_id": flavor.id, "tenant_id": p })).collect();
    Ok(Answer::ok(&json!({ "flavor_access": access })))
}

async fn list(ctx: Ctx) -> Reply {
    if find(&ctx, &ctx.cloud)?.is_public {
        return Err(Fault::not_found("Access list not available for public flavors."));
    }
    view(&ctx, &ctx.cloud)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    tenant: String,
}

async fn act(ctx: Ctx) -> Reply {
    let mut entries = ctx.object()?.into_iter();
    let (Some((action, value)), None) = (entries.next(), entries.next()) else {
        return Err(Fault::bad_request("Malformed request body: it must hold exactly one action."));
    };
    let id = find(&ctx, &ctx.cloud)?.id.clone();
    let tenant: Tenant = ctx.typed(&action, value)?;
    let project: ProjectId = tenant.tenant.parse().map_err(|_| invalid("tenant", &format!("'{}' is not a project's id", tenant.tenant)))?;
    let done = match action.as_str() {
        "addTenantAccess" => {
            if !ctx.cloud.projects.contains(&project) {
                return Err(Fault::bad_request(format!("Project ID {project} is not a valid project.")));
            }
            ctx.run(GrantFlavor { id, project }).await?
        }
        "removeTenantAccess" => ctx.run(RevokeFlavor { id, project }).await?,
        _ => return Err(Fault::bad_request(format!("There is no such action: {action}"))),
    };
    view(&ctx, &done.cloud)
}
