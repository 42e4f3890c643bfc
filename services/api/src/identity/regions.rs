//! Regions over HTTP. Source: identity api-ref, "Regions".

use super::common::{Fields, link, list, missing, unbound, with_extra};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use strata_conductor::decide::catalog::{DefineRegion, RemoveCatalogEntry};
use strata_events::RegionId;
use strata_events::catalog::CatalogEntry;
use strata_projections::cloud::catalog::Region;

pub fn routes(r: &mut Routes) {
    r.get("/v3/regions", index, Rule::token("identity:list_regions"));
    r.post("/v3/regions", create, Rule::admin("identity:create_region"));
    r.get("/v3/regions/{region_id}", show, Rule::token("identity:get_region"));
    r.put("/v3/regions/{region_id}", create, Rule::admin("identity:create_region"));
    r.patch("/v3/regions/{region_id}", update, Rule::admin("identity:update_region"));
    r.delete("/v3/regions/{region_id}", delete, Rule::admin("identity:delete_region"));
}

fn view(ctx: &Ctx, region: &Region) -> Value {
    let view = json!({
        "id": region.id,
        "description": region.description,
        "parent_region_id": region.parent,
        "links": link(ctx, format_args!("regions/{}", region.id)),
    });
    with_extra(view, &region.extra)
}

async fn index(ctx: Ctx) -> Reply {
    list(&ctx, "regions", ctx.cloud.catalog.regions.values().map(|r| view(&ctx, r)), &["parent_region_id"])
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "region")?;
    let in_path = ctx.params.get("region_id").map(str::to_owned);
    let in_body = ask.text("id")?;
    if let (Some(path), Some(body)) = (&in_path, &in_body)
        && path != body
    {
        return Err(Fault::bad_request(format!("The specified URL id {path} does not match the region's id {body}.")));
    }
    let id = in_path.or(in_body).filter(|id| !id.is_empty()).unwrap_or_else(|| crate::frame::new_uuid().simple().to_string());
    if id.chars().count() > 255 || id.contains('/') {
        return Err(Fault::bad_request("Invalid input for field 'id': at most 255 characters without '/' are expected."));
    }
    let id = RegionId(id);
    let region = Region {
        id: id.clone(),
        description: ask.text("description")?.unwrap_or_default(),
        parent: ask.text("parent_region_id")?.map(RegionId),
        extra: ask.extra()?,
    };
    let done = ctx.run(DefineRegion { new: true, region }).await?;
    let region = done.cloud.catalog.regions.get(&id).ok_or_else(|| missing(&ctx, "region", &id))?;
    Ok(Answer::created(&json!({ "region": view(&ctx, region) })))
}

fn found(ctx: &Ctx) -> Result<&Region, Fault> {
    let id = RegionId(ctx.param("region_id").to_owned());
    ctx.cloud.catalog.regions.get(&id).map(|r| &**r).ok_or_else(|| missing(ctx, "region", &id))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "region": view(&ctx, found(&ctx)?) })))
}

async fn update(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut region = found(&ctx)?.clone();
    let mut ask = Fields::of(&ctx, "region")?;
    if let Some(description) = ask.nullable("description")? {
        region.description = description.unwrap_or_default();
    }
    if let Some(parent) = ask.nullable("parent_region_id")? {
        region.parent = parent.map(RegionId);
    }
    region.extra.extend(ask.extra()?);
    let id = region.id.clone();
    let done = ctx.run(DefineRegion { new: false, region }).await?;
    let region = done.cloud.catalog.regions.get(&id).ok_or_else(|| missing(&ctx, "region", &id))?;
    Ok(Answer::ok(&json!({ "region": view(&ctx, region) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let id = RegionId(ctx.param("region_id").to_owned());
    ctx.run(RemoveCatalogEntry(CatalogEntry::Region(id))).await?;
    Ok(Answer::no_content())
}
