//! Compute's quotas by project, and the class `default` that holds for all the others. Source: compute api-ref, "Quota sets
//! (os-quota-sets)" and "Quota class sets (os-quota-class-sets)". 2.36 no network resources, 2.50 group quotas in classes,
//! 2.57 no files.

use super::servers::{boolean, invalid, unexpected};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Routes, Rule};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use strata_conductor::decide::quota::{ResetQuota, SetQuota};
use strata_events::ProjectId;
use strata_projections::cloud::quota::{EVERY_PROJECT, used};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-quota-sets/{id}", show, Rule::reader("os_compute_api:os-quota-sets:show"));
    r.get("/v2.1/os-quota-sets/{id}/detail", detail, Rule::reader("os_compute_api:os-quota-sets:detail"));
    r.get("/v2.1/os-quota-sets/{id}/defaults", defaults, Rule::token("os_compute_api:os-quota-sets:defaults"));
    r.put("/v2.1/os-quota-sets/{id}", update, Rule::admin("os_compute_api:os-quota-sets:update"));
    r.delete("/v2.1/os-quota-sets/{id}", delete, Rule::admin("os_compute_api:os-quota-sets:delete"));
    r.get("/v2.1/os-quota-class-sets/{id}", class, Rule::admin("os_compute_api:os-quota-class-sets:show"));
    r.put("/v2.1/os-quota-class-sets/{id}", update_class, Rule::admin("os_compute_api:os-quota-class-sets:update"));
}

/// Resources of the quota set, with the name under which Strata counts each, and the microversion that dropped it.
const RESOURCES: &[(&str, &str, u16)] = &[
    ("instances", "compute.instances", u16::MAX),
    ("cores", "compute.cores", u16::MAX),
    ("ram", "compute.ram", u16::MAX),
    ("metadata_items", "compute.metadata_items", u16::MAX),
    ("key_pairs", "compute.key_pairs", u16::MAX),
    ("server_groups", "compute.server_groups", u16::MAX),
    ("server_group_members", "compute.server_group_members", u16::MAX),
    ("injected_files", "compute.injected_files", 57),
    ("injected_file_content_bytes", "compute.injected_file_content_bytes", 57),
    ("injected_file_path_bytes", "compute.injected_file_path_bytes", 57),
    ("fixed_ips", "compute.fixed_ips", 36),
    ("floating_ips", "network.floatingip", 36),
    ("security_groups", "network.security_group", 36),
    ("security_group_rules", "network.security_group_rule", 36),
];

fn resources(version: Microversion) -> impl Iterator<Item = (&'static str, &'static str)> {
    RESOURCES.iter().filter(move |(_, _, until)| version < Microversion(2, *until)).map(|(name, key, _)| (*name, *key))
}

fn project(ctx: &Ctx) -> Result<ProjectId, Fault> {
    let id = ctx.param("id");
    id.parse().map_err(|_| Fault::bad_request(format!("Project ID {id} is not a valid project.")))
}

/// A project's quotas are for its own people, and for admins.
fn seen(ctx: &Ctx, rule: &'static str) -> Result<ProjectId, Fault> {
    let project = project(ctx)?;
    if ctx.sees(&project) { Ok(project) } else { Err(Fault::policy(ctx.service(), rule)) }
}

fn set(ctx: &Ctx, limit: impl Fn(&str) -> Value) -> Map<String, Value> {
    resources(ctx.version).map(|(name, key)| (name.to_owned(), limit(key))).collect()
}

async fn show(ctx: Ctx) -> Reply {
    let project = seen(&ctx, "os_compute_api:os-quota-sets:show")?;
    let mut view = set(&ctx, |key| json!(ctx.cloud.quotas.limit(&project, key)));
    view.insert("id".into(), json!(project));
    Ok(Answer::ok(&json!({ "quota_set": view })))
}

async fn defaults(ctx: Ctx) -> Reply {
    let mut view = set(&ctx, |key| json!(ctx.cloud.quotas.default_limit(key)));
    view.insert("id".into(), json!(ctx.param("id")));
    Ok(Answer::ok(&json!({ "quota_set": view })))
}

async fn detail(ctx: Ctx) -> Reply {
    let project = seen(&ctx, "os_compute_api:os-quota-sets:detail")?;
    let in_use = |key: &str| match key {
        "compute.server_groups" => ctx.cloud.server_groups.of_project(&project).count() as u64,
        _ => used(&ctx.cloud, &project, key).unwrap_or(0),
    };
    let mut view = set(&ctx, |key| json!({ "limit": ctx.cloud.quotas.limit(&project, key), "in_use": in_use(key), "reserved": 0 }));
    view.insert("id".into(), json!(project));
    Ok(Answer::ok(&json!({ "quota_set": view })))
}

/// The limits that a body sets, and whether usage may already be above them.
fn asked(ctx: &Ctx, body: Map<String, Value>, within: &str) -> Result<(BTreeMap<String, i64>, bool), Fault> {
    let mut limits = BTreeMap::new();
    let mut force = false;
    for (name, value) in body {
        if name == "force" && within == "quota_set" {
            force = boolean("force", &value)?;
            continue;
        }
        // Clients send back what they read.
        if name == "tenant_id" || name == "id" || name == "class_name" {
            continue;
        }
        let Some((_, key)) = resources(ctx.version).find(|(n, _)| *n == name) else { return Err(unexpected(within, &name)) };
        let number = match &value {
            Value::Number(n) => n.as_i64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        let fine = number.filter(|n| (-1..=i64::from(i32::MAX)).contains(n));
        let why = || invalid(&format!("{within}.{name}"), &format!("Value: {value}. It must be a whole number from -1 to {}.", i32::MAX));
        limits.insert(key.to_owned(), fine.ok_or_else(why)?);
    }
    Ok((limits, force))
}

async fn update(ctx: Ctx) -> Reply {
    let project = project(&ctx)?;
    let (limits, force) = asked(&ctx, ctx.body("quota_set")?, "quota_set")?;
    if !ctx.cloud.projects.contains(&project) {
        return Err(Fault::bad_request(format!("Project ID {project} is not a valid project.")));
    }
    let done = ctx.run(SetQuota { project, limits, check_usage: !force }).await?;
    Ok(Answer::ok(&json!({ "quota_set": set(&ctx, |key| json!(done.cloud.quotas.limit(&project, key))) })))
}

async fn delete(ctx: Ctx) -> Reply {
    ctx.run(ResetQuota { project: project(&ctx)?, service: "compute".into() }).await?;
    Ok(Answer::empty(202))
}

async fn class(ctx: Ctx) -> Reply {
    let mut view = set(&ctx, |key| json!(ctx.cloud.quotas.default_limit(key)));
    class_shape(&ctx, &mut view);
    view.insert("id".into(), json!(ctx.param("id")));
    Ok(Answer::ok(&json!({ "quota_class_set": view })))
}

/// Before 2.50 classes had no quotas of server groups.
fn class_shape(ctx: &Ctx, view: &mut Map<String, Value>) {
    if ctx.version < Microversion(2, 50) {
        view.remove("server_groups");
        view.remove("server_group_members");
    }
}

async fn update_class(ctx: Ctx) -> Reply {
    if ctx.param("id") != "default" {
        return Err(Fault::bad_request("Only the quota class 'default' has an effect: set that one."));
    }
    let (limits, _) = asked(&ctx, ctx.body("quota_class_set")?, "quota_class_set")?;
    let done = ctx.run(SetQuota { project: EVERY_PROJECT, limits, check_usage: false }).await?;
    let mut view = set(&ctx, |key| json!(done.cloud.quotas.default_limit(key)));
    class_shape(&ctx, &mut view);
    Ok(Answer::ok(&json!({ "quota_class_set": view })))
}
