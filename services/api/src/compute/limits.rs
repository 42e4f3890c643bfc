//! What a project may use and does. Source: compute api-ref, "Limits (limits)".

use crate::frame::{Answer, Ctx, Microversion, Reply, Routes, Rule};
use serde_json::json;
use strata_projections::cloud::quota::used;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/limits", show, Rule::token("os_compute_api:limits"));
}

async fn show(ctx: Ctx) -> Reply {
    let project = match ctx.query.get("tenant_id").map(str::parse).transpose()? {
        Some(other) => {
            if ctx.caller()?.project() != Some(other) {
                ctx.require(Rule::admin("os_compute_api:limits:other_project"))?;
            }
            other
        }
        None => ctx.project()?,
    };
    let limit = |name: &str| ctx.cloud.quotas.limit(&project, name);
    let used = |name: &str| used(&ctx.cloud, &project, name).unwrap_or(0);
    let mut absolute = json!({
        "maxTotalInstances": limit("compute.instances"),
        "maxTotalCores": limit("compute.cores"),
        "maxTotalRAMSize": limit("compute.ram"),
        "maxTotalKeypairs": limit("compute.key_pairs"),
        "maxServerMeta": limit("compute.metadata_items"),
        "maxServerGroups": limit("compute.server_groups"),
        "maxServerGroupMembers": limit("compute.server_group_members"),
        "totalInstancesUsed": used("compute.instances"),
        "totalCoresUsed": used("compute.cores"),
        "totalRAMUsed": used("compute.ram"),
        "totalServerGroupsUsed": ctx.cloud.server_groups.of_project(&project).count(),
    });
    if ctx.version < Microversion(2, 57) {
        absolute["maxPersonality"] = json!(limit("compute.injected_files"));
        absolute["maxPersonalitySize"] = json!(limit("compute.injected_file_content_bytes"));
    }
    if ctx.version < Microversion(2, 39) {
        absolute["maxImageMeta"] = json!(limit("compute.metadata_items"));
    }
    if ctx.version < Microversion(2, 36) {
        absolute["maxSecurityGroups"] = json!(limit("network.security_group"));
        absolute["maxSecurityGroupRules"] = json!(limit("network.security_group_rule"));
        absolute["maxTotalFloatingIps"] = json!(limit("network.floatingip"));
        absolute["totalSecurityGroupsUsed"] = json!(used("network.security_group"));
        absolute["totalFloatingIpsUsed"] = json!(used("network.floatingip"));
    }
    Ok(Answer::ok(&json!({ "limits": { "rate": [], "absolute": absolute } })))
}
