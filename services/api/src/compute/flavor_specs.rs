//! A flavor's extra specs. Source: compute api-ref, "Flavors extra-specs (flavors, os-extra_specs)".

use super::flavors::find;
use super::servers::invalid;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use strata_conductor::decide::flavor::{RemoveExtraSpec, SetExtraSpecs};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/flavors/{id}/os-extra_specs", list, Rule::token("os_compute_api:os-flavor-extra-specs:index"));
    r.post("/v2.1/flavors/{id}/os-extra_specs", create, Rule::admin("os_compute_api:os-flavor-extra-specs:create"));
    r.get("/v2.1/flavors/{id}/os-extra_specs/{key}", show, Rule::token("os_compute_api:os-flavor-extra-specs:show"));
    r.put("/v2.1/flavors/{id}/os-extra_specs/{key}", update, Rule::admin("os_compute_api:os-flavor-extra-specs:update"));
    r.delete("/v2.1/flavors/{id}/os-extra_specs/{key}", delete, Rule::admin("os_compute_api:os-flavor-extra-specs:delete"));
}

async fn list(ctx: Ctx) -> Reply {
    let flavor = find(&ctx, &ctx.cloud)?;
    Ok(Answer::ok(&json!({ "extra_specs": flavor.extra_specs })))
}

async fn show(ctx: Ctx) -> Reply {
    let flavor = find(&ctx, &ctx.cloud)?;
    let key = ctx.param("key");
    match flavor.extra_specs.get(key) {
        Some(value) => Ok(Answer::ok(&json!({ key: value }))),
        None => Err(Fault::not_found(format!("Flavor {} has no extra specs with key {key}.", flavor.id))),
    }
}

async fn create(ctx: Ctx) -> Reply {
    let extra_specs = specs(ctx.body::<Map<String, Value>>("extra_specs")?)?;
    let done = ctx.run(SetExtraSpecs { id: ctx.param("id").into(), extra_specs: extra_specs.clone(), must_exist: false }).await?;
    find(&ctx, &done.cloud)?;
    Ok(Answer::ok(&json!({ "extra_specs": extra_specs })))
}

async fn update(ctx: Ctx) -> Reply {
    let key = ctx.param("key").to_owned();
    let extra_specs = specs(ctx.object()?)?;
    if extra_specs.len() != 1 || !extra_specs.contains_key(&key) {
        return Err(Fault::bad_request("Request body and URI mismatch"));
    }
    ctx.run(SetExtraSpecs { id: ctx.param("id").into(), extra_specs: extra_specs.clone(), must_exist: false }).await?;
    Ok(Answer::ok(&extra_specs))
}

async fn delete(ctx: Ctx) -> Reply {
    ctx.run(RemoveExtraSpec { id: ctx.param("id").into(), key: ctx.param("key").into() }).await?;
    Ok(Answer::empty(200))
}

fn specs(map: Map<String, Value>) -> Result<BTreeMap<String, String>, Fault> {
    map.into_iter()
        .map(|(key, value)| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
            if key.is_empty() || key.len() > 255 || !key.chars().all(fine) {
                return Err(invalid("extra_specs", &format!("Additional properties are not allowed ('{key}' was unexpected)")));
            }
            match value {
                Value::String(text) if text.chars().count() <= 255 => Ok((key, text)),
                Value::Number(number) => Ok((key, number.to_string())),
                _ => Err(invalid(&format!("extra_specs.{key}"), "It must be text of at most 255 characters, or a number.")),
            }
        })
        .collect()
}
