//! Endpoints of the catalog over HTTP. Source: identity api-ref, "Service catalog and endpoints".

use super::common::{Fields, link, list, missing, path_id, unbound, with_extra};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use strata_conductor::decide::catalog::{DefineEndpoint, DefineRegion, RemoveCatalogEntry};
use strata_events::catalog::{CatalogEntry, Interface};
use strata_events::{EndpointId, RegionId, ServiceId};
use strata_projections::cloud::catalog::{Endpoint, Region};

const READ: &[Who] = &[Who::Admin, Who::SystemReader];

pub fn routes(r: &mut Routes) {
    r.get("/v3/endpoints", index, Rule::of("identity:list_endpoints", READ));
    r.post("/v3/endpoints", create, Rule::admin("identity:create_endpoint"));
    r.get("/v3/endpoints/{endpoint_id}", show, Rule::of("identity:get_endpoint", READ));
    r.patch("/v3/endpoints/{endpoint_id}", update, Rule::admin("identity:update_endpoint"));
    r.delete("/v3/endpoints/{endpoint_id}", delete, Rule::admin("identity:delete_endpoint"));
}

fn view(ctx: &Ctx, endpoint: &Endpoint) -> Value {
    let view = json!({
        "id": endpoint.id,
        "service_id": endpoint.service,
        "interface": endpoint.interface,
        // Shown as clients reach it: `$(base)s` is our own word.
        "url": endpoint.url.replace("$(base)s", &ctx.base),
        "region": endpoint.region,
        "region_id": endpoint.region,
        "enabled": endpoint.enabled,
        "links": link(ctx, format_args!("endpoints/{}", endpoint.id)),
    });
    with_extra(view, &endpoint.extra)
}

async fn index(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let seen = ctx.cloud.catalog.endpoints.values();
    list(&ctx, "endpoints", seen.map(|e| view(&ctx, e)), &["interface", "service_id", "region_id", "region"])
}

fn interface(ask: &mut Fields) -> Result<Option<Interface>, Fault> {
    match ask.text("interface")?.as_deref() {
        None => Ok(None),
        Some("public") => Ok(Some(Interface::Public)),
        Some("internal") => Ok(Some(Interface::Internal)),
        Some("admin") => Ok(Some(Interface::Admin)),
        Some(_) => Err(Fault::bad_request("Invalid input for field 'interface': one of public, internal and admin is expected.")),
    }
}

/// The address: an http or https URL whose placeholders are known.
fn url(ask: &mut Fields) -> Result<Option<String>, Fault> {
    let Some(url) = ask.text("url")? else { return Ok(None) };
    let mut bare = url.replace("$(base)s", "http://base");
    for known in ["$(project_id)s", "%(project_id)s", "$(tenant_id)s", "%(tenant_id)s"] {
        bare = bare.replace(known, "");
    }
    let fine = (bare.starts_with("http://") || bare.starts_with("https://")) && !bare.chars().any(|c| c.is_control() || c == ' ');
    if !fine || bare.contains("$(") || bare.contains("%(") || url.len() > 2048 {
        return Err(Fault::bad_request(
            "Invalid input for field 'url': an http or https URL is expected, in which only $(project_id)s stands for something else.",
        ));
    }
    Ok(Some(url))
}

/// The old attribute `region` makes the region that it names.
async fn old_way(ctx: &Ctx, named: Option<&String>) -> Result<(), Fault> {
    let Some(id) = named.map(|n| RegionId(n.clone())).filter(|id| !ctx.cloud.catalog.regions.contains(id)) else { return Ok(()) };
    let region = Region { id, parent: None, description: String::new(), extra: Default::default() };
    ctx.run(DefineRegion { new: true, region }).await.map(drop)
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "endpoint")?;
    let required = |key: &str| Fault::bad_request(format!("'{key}' is a required property"));
    let id = EndpointId(crate::frame::new_uuid());
    let service: ServiceId = ask.id("service_id", "service")?.flatten().ok_or_else(|| required("service_id"))?;
    let old_region = ask.text("region")?;
    let region = ask.text("region_id")?;
    old_way(&ctx, old_region.as_ref().filter(|_| region.is_none())).await?;
    let endpoint = Endpoint {
        id,
        service,
        interface: interface(&mut ask)?.ok_or_else(|| required("interface"))?,
        url: url(&mut ask)?.ok_or_else(|| required("url"))?,
        region: region.or(old_region).map(RegionId),
        enabled: ask.flag("enabled")?.unwrap_or(true),
        extra: ask.extra()?,
    };
    let done = ctx.run(DefineEndpoint { new: true, endpoint }).await?;
    let endpoint = done.cloud.catalog.endpoints.get(&id).ok_or_else(|| missing(&ctx, "endpoint", id))?;
    Ok(Answer::created(&json!({ "endpoint": view(&ctx, endpoint) })))
}

fn found(ctx: &Ctx) -> Result<&Endpoint, Fault> {
    let id: EndpointId = path_id(ctx, "endpoint_id", "endpoint")?;
    ctx.cloud.catalog.endpoints.get(&id).map(|e| &**e).ok_or_else(|| missing(ctx, "endpoint", id))
}

async fn show(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    Ok(Answer::ok(&json!({ "endpoint": view(&ctx, found(&ctx)?) })))
}

async fn update(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut endpoint = found(&ctx)?.clone();
    let mut ask = Fields::of(&ctx, "endpoint")?;
    endpoint.service = ask.id("service_id", "service")?.flatten().unwrap_or(endpoint.service);
    endpoint.interface = interface(&mut ask)?.unwrap_or(endpoint.interface);
    endpoint.url = url(&mut ask)?.unwrap_or(endpoint.url);
    let old_region = ask.nullable("region")?;
    let region = ask.nullable("region_id")?;
    if let (None, Some(old)) = (&region, &old_region) {
        old_way(&ctx, old.as_ref()).await?;
    }
    if let Some(region) = region.or(old_region) {
        endpoint.region = region.map(RegionId);
    }
    endpoint.enabled = ask.flag("enabled")?.unwrap_or(endpoint.enabled);
    endpoint.extra.extend(ask.extra()?);
    let id = endpoint.id;
    let done = ctx.run(DefineEndpoint { new: false, endpoint }).await?;
    let endpoint = done.cloud.catalog.endpoints.get(&id).ok_or_else(|| missing(&ctx, "endpoint", id))?;
    Ok(Answer::ok(&json!({ "endpoint": view(&ctx, endpoint) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let id = found(&ctx)?.id;
    ctx.run(RemoveCatalogEntry(CatalogEntry::Endpoint(id))).await?;
    Ok(Answer::no_content())
}
