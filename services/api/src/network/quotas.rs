//! Network quotas over HTTP (extensions quotas, quota_details, quota-check-limit). Source: network api-ref, "Quotas".

use super::attrs::{Flag, Number};
use super::caller::denied;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use strata_conductor::decide::quota::{ResetQuota, SetQuota};
use strata_events::ProjectId;
use strata_projections::Cloud;
use strata_projections::cloud::quota::{Quotas, used};

const SERVICE: &str = "network";

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/quotas", index, Rule::admin("get_quota"));
    for own in ["/v2.0/quotas/tenant", "/v2.0/quotas/project"] {
        r.get(own, mine, Rule::token("get_quota"));
    }
    r.get("/v2.0/quotas/{id}", show, Rule::token("get_quota"));
    r.put("/v2.0/quotas/{id}", update, Rule::admin("update_quota"));
    r.delete("/v2.0/quotas/{id}", delete, Rule::admin("delete_quota"));
    r.get("/v2.0/quotas/{id}/default", defaults, Rule::token("get_quota"));
    for details in ["/v2.0/quotas/{id}/details", "/v2.0/quotas/{id}/details.json"] {
        r.get(details, usage, Rule::token("get_quota"));
    }
}

fn project(ctx: &Ctx) -> Result<ProjectId, Fault> {
    let text = ctx.param("id").trim_end_matches(".json");
    let id = text.parse().map_err(|_| Fault::not_found(format!("Project {text} could not be found.")))?;
    if ctx.sees(&id) { Ok(id) } else { Err(denied("get_quota", &[])) }
}

fn limits(cloud: &Cloud, project: &ProjectId) -> Map<String, Value> {
    let limit = |(name, _): (&str, i64)| (name.to_owned(), json!(cloud.quotas.limit(project, &format!("{SERVICE}.{name}"))));
    Quotas::resources(SERVICE).map(limit).collect()
}

async fn index(ctx: Ctx) -> Reply {
    let quotas = ctx.cloud.quotas.projects_with(SERVICE).map(|project| {
        let mut quota = limits(&ctx.cloud, &project);
        quota.insert("tenant_id".into(), json!(project));
        quota.insert("project_id".into(), json!(project));
        quota
    });
    Ok(Answer::ok(&json!({ "quotas": quotas.collect::<Vec<_>>() })))
}

async fn mine(ctx: Ctx) -> Reply {
    let project = ctx.project()?;
    let key = ctx.route.path.rsplit('/').next().unwrap_or_default();
    Ok(Answer::ok(&json!({ key: { "tenant_id": project, "project_id": project } })))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "quota": limits(&ctx.cloud, &project(&ctx)?) })))
}

async fn defaults(ctx: Ctx) -> Reply {
    project(&ctx)?;
    let limit = |(name, _): (&str, i64)| (name.to_owned(), json!(ctx.cloud.quotas.default_limit(&format!("{SERVICE}.{name}"))));
    let quota: Map<String, Value> = Quotas::resources(SERVICE).map(limit).collect();
    Ok(Answer::ok(&json!({ "quota": quota })))
}

async fn usage(ctx: Ctx) -> Reply {
    let project = project(&ctx)?;
    let one = |(name, _): (&str, i64)| {
        let resource = format!("{SERVICE}.{name}");
        let detail = json!({
            "limit": ctx.cloud.quotas.limit(&project, &resource),
            "used": used(&ctx.cloud, &project, &resource).unwrap_or(0),
            // What is asked for is made in the same transaction: nothing is ever only reserved.
            "reserved": 0,
        });
        (name.to_owned(), detail)
    };
    let quota: Map<String, Value> = Quotas::resources(SERVICE).map(one).collect();
    Ok(Answer::ok(&json!({ "quota": quota })))
}

async fn update(ctx: Ctx) -> Reply {
    let project = project(&ctx)?;
    let body: Map<String, Value> = ctx.body("quota")?;
    let (mut limits_asked, mut check_usage) = (BTreeMap::new(), false);
    for (name, value) in body {
        if name == "check_limit" || name == "force" {
            let Flag(on) = ctx.typed(&name, value)?;
            check_usage = check_usage || (name == "check_limit" && on);
            continue;
        }
        if name == "tenant_id" || name == "project_id" {
            continue;
        }
        if !Quotas::resources(SERVICE).any(|(known, _)| known == name) {
            return Err(Fault::bad_request(format!("Unrecognized attribute(s) '{name}'")));
        }
        let Number(limit) = ctx.typed(&name, value)?;
        if !(-1..=i64::from(i32::MAX)).contains(&limit) {
            return Err(Fault::bad_request(format!("Invalid input for {name}. Reason: '{limit}' is not between -1 and {}.", i32::MAX)));
        }
        limits_asked.insert(format!("{SERVICE}.{name}"), limit);
    }
    let done = ctx.carry_out(SetQuota { project, limits: limits_asked, check_usage }).await?;
    Ok(Answer::ok(&json!({ "quota": limits(&done.cloud, &project) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let project = project(&ctx)?;
    if !ctx.cloud.quotas.projects_with(SERVICE).any(|p| p == project) {
        return Err(Fault::not_found(format!("Quota for tenant {project} could not be found.")).with_kind("TenantQuotaNotFound"));
    }
    ctx.carry_out(ResetQuota { project, service: SERVICE.into() }).await?;
    Ok(Answer::no_content())
}
