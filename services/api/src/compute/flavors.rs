//! Flavors over HTTP. Source: compute api-ref, "Flavors (flavors)". 2.55 description and update, 2.61 extra_specs, 2.75 swap.

use super::server_list::{NextLink, next_link};
use super::server_view::Links;
use super::servers::{boolean, given, integer, invalid, name, unexpected};
use crate::frame::{Answer, Ctx, Fault, Microversion, Page, Reply, Routes, Rule};
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::cmp::Ordering;
use std::sync::Arc;
use strata_conductor::decide::flavor::{CreateFlavor, DeleteFlavor, DescribeFlavor};
use strata_events::FlavorId;
use strata_projections::Cloud;
use strata_projections::cloud::flavor::Flavor;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/flavors", brief, Rule::token("os_compute_api:flavors"));
    r.post("/v2.1/flavors", create, Rule::admin("os_compute_api:os-flavor-manage:create"));
    r.get("/v2.1/flavors/detail", detail, Rule::token("os_compute_api:flavors"));
    r.get("/v2.1/flavors/{id}", show, Rule::token("os_compute_api:flavors"));
    r.put("/v2.1/flavors/{id}", update, Rule::admin("os_compute_api:os-flavor-manage:update")).since(2, 55);
    r.delete("/v2.1/flavors/{id}", delete, Rule::admin("os_compute_api:os-flavor-manage:delete"));
}

#[derive(serde::Serialize)]
struct One<'a> {
    flavor: View<'a>,
}
#[derive(serde::Serialize)]
struct Many<'a> {
    flavors: Vec<View<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flavors_links: Option<[NextLink; 1]>,
}

struct View<'a> {
    flavor: &'a Flavor,
    base: &'a str,
    version: Microversion,
    full: bool,
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let f = self.flavor;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &f.id)?;
        map.serialize_entry("name", &f.name)?;
        map.serialize_entry("links", &Links { base: self.base, collection: "flavors", id: &f.id })?;
        if self.version >= Microversion(2, 55) {
            map.serialize_entry("description", &f.description)?;
        }
        if self.full {
            map.serialize_entry("ram", &f.ram)?;
            map.serialize_entry("disk", &f.disk)?;
            if f.swap == 0 && self.version < Microversion(2, 75) {
                map.serialize_entry("swap", "")?;
            } else {
                map.serialize_entry("swap", &f.swap)?;
            }
            map.serialize_entry("vcpus", &f.vcpus)?;
            map.serialize_entry("OS-FLV-EXT-DATA:ephemeral", &f.ephemeral)?;
            map.serialize_entry("OS-FLV-DISABLED:disabled", &false)?;
            map.serialize_entry("os-flavor-access:is_public", &f.is_public)?;
            map.serialize_entry("rxtx_factor", &f.rxtx_factor)?;
            if self.version >= Microversion(2, 61) {
                map.serialize_entry("extra_specs", &f.extra_specs)?;
            }
        }
        map.end()
    }
}

/// The flavor that the path names, if the caller may use it.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Flavor>, Fault> {
    let id = ctx.param("id");
    let missing = || Fault::not_found(format!("Flavor {id} could not be found."));
    let flavor = cloud.flavors.get(&id.into()).ok_or_else(missing)?;
    if open(ctx, flavor) { Ok(flavor) } else { Err(missing()) }
}

fn open(ctx: &Ctx, flavor: &Flavor) -> bool {
    ctx.is_admin() || flavor.is_public || ctx.caller.as_ref().and_then(|c| c.project()).is_some_and(|p| flavor.open_to(&p))
}

fn answer(ctx: &Ctx, cloud: &Cloud, status: u16) -> Reply {
    let flavor = find(ctx, cloud)?;
    Ok(Answer::json(status, &One { flavor: View { flavor, base: &ctx.base, version: ctx.version, full: true } }))
}

async fn show(ctx: Ctx) -> Reply {
    answer(&ctx, &ctx.cloud, 200)
}

async fn brief(ctx: Ctx) -> Reply {
    list(&ctx, false)
}

async fn detail(ctx: Ctx) -> Reply {
    list(&ctx, true)
}

fn list(ctx: &Ctx, full: bool) -> Reply {
    let page = Page::of(&ctx.query, 1000)?;
    let least = |key: &str| {
        let bad = |_| Fault::bad_request(format!("Invalid {key} [{}]", ctx.query.get(key).unwrap_or_default()));
        ctx.query.get(key).map(|v| v.parse::<u64>().map_err(bad)).transpose()
    };
    let (min_ram, min_disk) = (least("minRam")?.unwrap_or(0), least("minDisk")?.unwrap_or(0));
    // Only admins may ask for others than the public ones: `none` is both.
    let public = match ctx.query.get("is_public") {
        Some(text) if ctx.is_admin() => match text.to_ascii_lowercase().as_str() {
            "none" => None,
            "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
            "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
            _ => return Err(Fault::bad_request(format!("Invalid is_public filter [{text}]"))),
        },
        _ => Some(true),
    };
    let chosen = |f: &&Arc<Flavor>| {
        let seen = match public {
            None => true,
            Some(true) if !ctx.is_admin() || !ctx.query.has("is_public") => open(ctx, f) && (f.is_public || !ctx.is_admin()),
            Some(public) => f.is_public == public,
        };
        seen && f.ram >= min_ram && f.disk >= min_disk
    };
    let (key, ascending) = order(ctx)?;
    let mut all: Vec<&Arc<Flavor>> = ctx.cloud.flavors.values().filter(chosen).collect();
    all.sort_by(|a, b| {
        let order = compare(&key, a, b).then_with(|| a.id.cmp(&b.id));
        if ascending { order } else { order.reverse() }
    });
    let cut = page.cut(all.into_iter(), |f| f.id.0.clone())?;
    let flavors = cut.items.iter().map(|f| View { flavor: f, base: &ctx.base, version: ctx.version, full }).collect();
    let last = cut.items.last().filter(|_| cut.more);
    Ok(Answer::ok(&Many { flavors, flavors_links: last.map(|f| [next_link(ctx, &f.id.0)]) }))
}

fn order(ctx: &Ctx) -> Result<(String, bool), Fault> {
    let key = ctx.query.get("sort_key").unwrap_or("flavorid");
    const KEYS: &[&str] = &[
        "created_at",
        "description",
        "disabled",
        "ephemeral_gb",
        "flavorid",
        "id",
        "is_public",
        "memory_mb",
        "name",
        "root_gb",
        "rxtx_factor",
        "swap",
        "updated_at",
        "vcpu_weight",
        "vcpus",
    ];
    if !KEYS.contains(&key) {
        return Err(Fault::bad_request(format!(
            "Invalid input for query parameters sort_key. Value: {key}. '{key}' is not one of {KEYS:?}"
        )));
    }
    match ctx.query.get("sort_dir").unwrap_or("asc") {
        "asc" => Ok((key.to_owned(), true)),
        "desc" => Ok((key.to_owned(), false)),
        other => Err(Fault::bad_request(format!("Invalid input for query parameters sort_dir. Value: {other}. It must be asc or desc."))),
    }
}

fn compare(key: &str, a: &Flavor, b: &Flavor) -> Ordering {
    match key {
        "name" => a.name.cmp(&b.name),
        "description" => a.description.cmp(&b.description),
        "memory_mb" => a.ram.cmp(&b.ram),
        "root_gb" => a.disk.cmp(&b.disk),
        "ephemeral_gb" => a.ephemeral.cmp(&b.ephemeral),
        "swap" => a.swap.cmp(&b.swap),
        "vcpus" => a.vcpus.cmp(&b.vcpus),
        "rxtx_factor" => a.rxtx_factor.total_cmp(&b.rxtx_factor),
        "is_public" => a.is_public.cmp(&b.is_public),
        "created_at" | "id" => a.created_at.cmp(&b.created_at),
        "updated_at" => a.updated_at.cmp(&b.updated_at),
        _ => a.id.cmp(&b.id),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFlavor {
    name: String,
    id: Option<Value>,
    ram: Value,
    vcpus: Value,
    disk: Value,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: Option<Value>,
    swap: Option<Value>,
    rxtx_factor: Option<Value>,
    #[serde(rename = "os-flavor-access:is_public")]
    is_public: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
}

async fn create(ctx: Ctx) -> Reply {
    let ask: NewFlavor = ctx.body("flavor")?;
    if ask.description.is_some() && ctx.version < Microversion(2, 55) {
        return Err(unexpected("flavor", "description"));
    }
    let most = i32::MAX as u64;
    let optional = |field: &str, value: &Option<Value>| value.as_ref().map_or(Ok(0), |v| integer(field, v, 0, most));
    let rxtx_factor = match &ask.rxtx_factor {
        None => 1.0,
        Some(Value::Number(n)) => n.as_f64().unwrap_or(0.0),
        Some(Value::String(s)) => s.parse().unwrap_or(0.0),
        Some(_) => 0.0,
    };
    if !(rxtx_factor > 0.0 && rxtx_factor <= 3.402_823_466e38) {
        return Err(invalid("rxtx_factor", "It must be a number greater than 0."));
    }
    let is_public = ask.is_public.as_ref().map_or(Ok(true), |v| boolean("os-flavor-access:is_public", v))?;
    let command = CreateFlavor {
        id: flavor_id(ask.id.as_ref())?,
        name: name("name", &ask.name)?,
        description: checked_description(ask.description.flatten())?,
        vcpus: u32::try_from(integer("vcpus", &ask.vcpus, 1, most)?).unwrap_or(u32::MAX),
        ram: integer("ram", &ask.ram, 1, most)?,
        disk: integer("disk", &ask.disk, 0, most)?,
        ephemeral: optional("OS-FLV-EXT-DATA:ephemeral", &ask.ephemeral)?,
        swap: optional("swap", &ask.swap)?,
        rxtx_factor,
        is_public,
    };
    let id = command.id.clone();
    let done = ctx.run(command).await?;
    let flavor = done.cloud.flavors.get(&id).ok_or_else(|| Fault::not_found(format!("Flavor {id} could not be found.")))?;
    Ok(Answer::ok(&One { flavor: View { flavor, base: &ctx.base, version: ctx.version, full: true } }))
}

fn flavor_id(value: Option<&Value>) -> Result<FlavorId, Fault> {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        Some(_) => return Err(invalid("id", "It must be text.")),
    };
    // `auto` is what clients send for none.
    if text.is_empty() || text == "auto" {
        return Ok(FlavorId(crate::frame::new_uuid().to_string()));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    if text.len() > 255 || !text.chars().all(fine) || text.trim() != text {
        return Err(invalid("id", &format!("Value: {text}. It may hold letters, digits, '-', '_', '.' and spaces inside, at most 255.")));
    }
    Ok(FlavorId(text))
}

fn checked_description(text: Option<String>) -> Result<Option<String>, Fault> {
    match text {
        Some(text) if text.len() > 65_535 => Err(invalid("description", "It is too long: at most 65535 bytes are taken.")),
        text => Ok(text),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
}

async fn update(ctx: Ctx) -> Reply {
    let ask: Described = ctx.body("flavor")?;
    let description = ask.description.ok_or_else(|| invalid("flavor", "'description' is a required property"))?;
    let done = ctx.run(DescribeFlavor { id: ctx.param("id").into(), description: checked_description(description)? }).await?;
    answer(&ctx, &done.cloud, 200)
}

async fn delete(ctx: Ctx) -> Reply {
    ctx.run(DeleteFlavor { id: ctx.param("id").into() }).await?;
    Ok(Answer::empty(202))
}
