//! Servers over HTTP: show, update, delete; listing, creating and actions have their own files.
//! Source: compute api-ref, "Servers (servers)".

use super::server_view::{Level, Views};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use strata_conductor::decide::instance::{DeleteInstance, UpdateInstance};
use strata_projections::Cloud;
use strata_projections::cloud::instance::Instance;

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/servers", super::server_list::brief, Rule::reader("os_compute_api:servers:index"));
    r.post("/v2.1/servers", super::server_create::create, Rule::member("os_compute_api:servers:create"));
    r.get("/v2.1/servers/detail", super::server_list::detail, Rule::reader("os_compute_api:servers:detail"));
    r.get("/v2.1/servers/{id}", show, Rule::reader("os_compute_api:servers:show"));
    r.put("/v2.1/servers/{id}", update, Rule::member("os_compute_api:servers:update"));
    r.delete("/v2.1/servers/{id}", delete, Rule::member("os_compute_api:servers:delete"));
    r.post("/v2.1/servers/{id}/action", super::server_actions::act, Rule::member("os_compute_api:servers:action"));
}

/// `{"server": …}`
#[derive(serde::Serialize)]
pub struct Server<T> {
    pub server: T,
}

/// The instance that the path names; what the caller may not see is not there.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Instance>, Fault> {
    let id = ctx.param("id");
    let missing = || Fault::not_found(format!("Instance {id} could not be found."));
    let instance = id.parse().ok().and_then(|id| cloud.instances.get(&id)).ok_or_else(missing)?;
    if ctx.sees(&instance.project) { Ok(instance) } else { Err(missing()) }
}

async fn show(ctx: Ctx) -> Reply {
    let instance = find(&ctx, &ctx.cloud)?;
    let views = Views::of(&ctx, &ctx.cloud);
    Ok(Answer::ok(&Server { server: views.one(instance, Level::Show) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateServer {
    name: Option<String>,
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4", default, deserialize_with = "given")]
    access_ipv4: Option<Option<String>>,
    #[serde(rename = "accessIPv6", default, deserialize_with = "given")]
    access_ipv6: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    hostname: Option<String>,
}

/// Tells `null` from nothing.
pub fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

async fn update(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    let ask: UpdateServer = ctx.body("server")?;
    since(&ctx, 19, "description", ask.description.is_some())?;
    since(&ctx, 90, "hostname", ask.hostname.is_some())?;
    let name = ask.name.as_deref().map(|n| name("name", n)).transpose()?;
    let description = ask.description.map(|d| self::description(d).map(Some)).transpose()?.flatten();
    let command = UpdateInstance {
        id,
        name,
        description,
        hostname: ask.hostname.as_deref().map(|h| hostname(h, ctx.version)).transpose()?,
        disk_config_auto: ask.disk_config.as_deref().map(disk_config).transpose()?,
        access_ipv4: ask.access_ipv4.map(|a| access::<Ipv4Addr>("accessIPv4", a)).transpose()?,
        access_ipv6: ask.access_ipv6.map(|a| access::<Ipv6Addr>("accessIPv6", a)).transpose()?,
    };
    let done = ctx.run(command).await?;
    let instance = find(&ctx, &done.cloud)?;
    let level = if ctx.version >= Microversion(2, 75) { Level::Show } else { Level::Update };
    Ok(Answer::ok(&Server { server: Views::of(&ctx, &done.cloud).one(instance, level) }))
}

async fn delete(ctx: Ctx) -> Reply {
    let id = find(&ctx, &ctx.cloud)?.id;
    ctx.run(DeleteInstance { id, admin: ctx.is_admin() }).await?;
    Ok(Answer::no_content())
}

/// A field that came with a microversion which was not asked for is unknown.
pub fn since(ctx: &Ctx, minor: u16, field: &str, present: bool) -> Result<(), Fault> {
    if present && ctx.version < Microversion(2, minor) { Err(unexpected("server", field)) } else { Ok(()) }
}

pub fn unexpected(within: &str, field: &str) -> Fault {
    invalid(within, &format!("Additional properties are not allowed ('{field}' was unexpected)"))
}

/// Nova's sentence for a value that its schema refuses.
pub fn invalid(field: &str, why: &str) -> Fault {
    Fault::bad_request(format!("Invalid input for field/attribute {field}. {why}"))
}

fn invalid_value(field: &str, value: &str, why: &str) -> Fault {
    let shown: String = value.chars().take(255).collect();
    Fault::bad_request(format!("Invalid input for field/attribute {field}. Value: {shown}. {why}"))
}

/// A name of 1 to 255 printable characters that neither begins nor ends with a space.
pub fn name(field: &str, value: &str) -> Result<String, Fault> {
    let length = value.chars().count();
    if length == 0 {
        Err(invalid_value(field, value, "'' is too short"))
    } else if length > 255 {
        Err(invalid_value(field, value, "It is too long: at most 255 characters are taken."))
    } else if value.trim() != value || value.chars().any(|c| c.is_control()) {
        Err(invalid_value(field, value, "It must be printable and must not begin or end with a space."))
    } else {
        Ok(value.to_owned())
    }
}

pub fn description(value: Option<String>) -> Result<Option<String>, Fault> {
    match &value {
        Some(text) if text.chars().count() > 255 => Err(invalid("description", "It is too long: at most 255 characters are taken.")),
        Some(text) if text.chars().any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t') => {
            Err(invalid_value("description", text, "It must be printable."))
        }
        _ => Ok(value),
    }
}

/// A host name of one label; from 2.94 on also a full domain name.
pub fn hostname(value: &str, version: Microversion) -> Result<String, Fault> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let fine = if version >= Microversion(2, 94) { value.len() <= 255 && value.split('.').all(label) } else { label(value) };
    if fine { Ok(value.to_owned()) } else { Err(invalid_value("hostname", value, "It is not a host name.")) }
}

pub fn disk_config(value: &str) -> Result<bool, Fault> {
    match value {
        "AUTO" => Ok(true),
        "MANUAL" => Ok(false),
        _ => Err(invalid_value("OS-DCF:diskConfig", value, "It must be AUTO or MANUAL.")),
    }
}

/// An address that the user says the server is reached by; empty or null takes it away.
pub fn access<A: std::str::FromStr>(field: &str, value: Option<String>) -> Result<Option<A>, Fault> {
    match value.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| invalid_value(field, text, "It is not an IP address of that version.")),
    }
}

/// A boolean as Nova's schema takes it: a JSON boolean, or one of its words.
pub fn boolean(field: &str, value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::String(s) if ["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"].contains(&s.as_str()) => Ok(true),
        Value::String(s) if ["False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"].contains(&s.as_str()) => Ok(false),
        other => Err(invalid_value(field, &other.to_string(), "It must be true or false.")),
    }
}

/// A whole number in a range, as a number or as text.
pub fn integer(field: &str, value: &Value, min: u64, max: u64) -> Result<u64, Fault> {
    let number = match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    let fine = number.filter(|n| (min..=max).contains(n));
    fine.ok_or_else(|| invalid_value(field, &value.to_string(), &format!("It must be a whole number from {min} to {max}.")))
}

/// Keys of letters, digits and `-_:. `, values of at most 255 characters.
pub fn check_metadata(metadata: &std::collections::BTreeMap<String, String>) -> Result<(), Fault> {
    for (key, value) in metadata {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
        if key.is_empty() || key.len() > 255 || !key.chars().all(fine) {
            return Err(invalid("metadata", &format!("Additional properties are not allowed ('{key}' was unexpected)")));
        }
        if value.chars().count() > 255 {
            return Err(invalid(&format!("metadata.{key}"), "It is too long: at most 255 characters are taken."));
        }
    }
    Ok(())
}

/// A tag: 1 to 60 characters, no `/` and no `,`.
pub fn check_tag(tag: &str) -> Result<(), Fault> {
    let length = tag.chars().count();
    if length == 0 || length > 60 || tag.contains(['/', ',']) {
        return Err(invalid_value("tags", tag, "A tag has 1 to 60 characters, without '/' and ','."));
    }
    Ok(())
}
