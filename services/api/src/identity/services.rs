//! Services of the catalog over HTTP. Source: identity api-ref, "Service catalog and endpoints".

use super::common::{Fields, link, list, missing, path_id, unbound, with_extra};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use strata_conductor::decide::catalog::{DefineService, RemoveCatalogEntry};
use strata_events::ServiceId;
use strata_events::catalog::CatalogEntry;
use strata_projections::cloud::catalog::Service;

const READ: &[Who] = &[Who::Admin, Who::SystemReader];

pub fn routes(r: &mut Routes) {
    r.get("/v3/services", index, Rule::of("identity:list_services", READ));
    r.post("/v3/services", create, Rule::admin("identity:create_service"));
    r.get("/v3/services/{service_id}", show, Rule::of("identity:get_service", READ));
    r.patch("/v3/services/{service_id}", update, Rule::admin("identity:update_service"));
    r.delete("/v3/services/{service_id}", delete, Rule::admin("identity:delete_service"));
}

fn view(ctx: &Ctx, service: &Service) -> Value {
    let mut view = json!({
        "id": service.id,
        "type": service.kind,
        "enabled": service.enabled,
        "links": link(ctx, format_args!("services/{}", service.id)),
    });
    if let Some(name) = &service.name {
        view["name"] = json!(name);
    }
    if let Some(description) = &service.description {
        view["description"] = json!(description);
    }
    with_extra(view, &service.extra)
}

async fn index(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    list(&ctx, "services", ctx.cloud.catalog.services.values().map(|s| view(&ctx, s)), &["type", "name"])
}

fn kind(ask: &mut Fields) -> Result<Option<String>, Fault> {
    match ask.text("type")? {
        Some(kind) if kind.is_empty() || kind.chars().count() > 255 => {
            Err(Fault::bad_request("Invalid input for field 'type': a string of 1 to 255 characters is expected."))
        }
        kind => Ok(kind),
    }
}

async fn create(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut ask = Fields::of(&ctx, "service")?;
    let id = ServiceId(crate::frame::new_uuid());
    let service = Service {
        id,
        kind: kind(&mut ask)?.ok_or_else(|| Fault::bad_request("'type' is a required property"))?,
        name: ask.name(255)?,
        description: ask.text("description")?,
        enabled: ask.flag("enabled")?.unwrap_or(true),
        extra: ask.extra()?,
    };
    let done = ctx.run(DefineService { new: true, service }).await?;
    let service = done.cloud.catalog.services.get(&id).ok_or_else(|| missing(&ctx, "service", id))?;
    Ok(Answer::created(&json!({ "service": view(&ctx, service) })))
}

fn found(ctx: &Ctx) -> Result<&Service, Fault> {
    let id: ServiceId = path_id(ctx, "service_id", "service")?;
    ctx.cloud.catalog.services.get(&id).map(|s| &**s).ok_or_else(|| missing(ctx, "service", id))
}

async fn show(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    Ok(Answer::ok(&json!({ "service": view(&ctx, found(&ctx)?) })))
}

async fn update(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let mut service = found(&ctx)?.clone();
    let mut ask = Fields::of(&ctx, "service")?;
    service.kind = kind(&mut ask)?.unwrap_or(service.kind);
    service.name = ask.name(255)?.or(service.name);
    if let Some(description) = ask.nullable("description")? {
        service.description = description;
    }
    service.enabled = ask.flag("enabled")?.unwrap_or(service.enabled);
    service.extra.extend(ask.extra()?);
    let id = service.id;
    let done = ctx.run(DefineService { new: false, service }).await?;
    let service = done.cloud.catalog.services.get(&id).ok_or_else(|| missing(&ctx, "service", id))?;
    Ok(Answer::ok(&json!({ "service": view(&ctx, service) })))
}

async fn delete(ctx: Ctx) -> Reply {
    unbound(&ctx)?;
    let id = found(&ctx)?.id;
    ctx.run(RemoveCatalogEntry(CatalogEntry::Service(id))).await?;
    Ok(Answer::no_content())
}
