//! `POST /servers`. Source: compute api-ref, "Create Server"; nova/api/openstack/compute/schemas/servers.py.

use super::server_view::Links;
use super::servers::{
    Server, access, boolean, check_metadata, check_tag, description, disk_config, given, hostname, integer, invalid, name, since,
    unexpected,
};
use crate::frame::{Answer, Ctx, Fault, Microversion, Reply, Rule};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use strata_conductor::decide::instance::{NewInstance, NicAsk, NicTarget, PortSeed, RequestInstances, WantedNetworks};
use strata_conductor::decide::security_group::DefaultGroupIds;
use strata_events::port::MacAddress;
use strata_events::{HostName, InstanceId, PortId, SecurityGroupId, SecurityGroupRuleId, ServerGroupId};
use uuid::Uuid;

/// Servers in one call at most: what fits in a batch of the log with room for others.
const MOST: u64 = 100;
/// Ports of one server at most.
const MOST_NICS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateServer {
    name: String,
    #[serde(rename = "imageRef")]
    image: Option<String>,
    #[serde(rename = "flavorRef")]
    flavor: Value,
    #[serde(rename = "adminPass")]
    admin_pass: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    networks: Option<Value>,
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4")]
    access_ipv4: Option<String>,
    #[serde(rename = "accessIPv6")]
    access_ipv6: Option<String>,
    personality: Option<Vec<Value>>,
    availability_zone: Option<String>,
    block_device_mapping: Option<Vec<Value>>,
    block_device_mapping_v2: Option<Vec<Value>>,
    config_drive: Option<Value>,
    key_name: Option<String>,
    min_count: Option<Value>,
    max_count: Option<Value>,
    return_reservation_id: Option<Value>,
    security_groups: Option<Vec<NamedGroup>>,
    user_data: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    tags: Option<Vec<String>>,
    trusted_image_certificates: Option<Vec<Value>>,
    host: Option<String>,
    hypervisor_hostname: Option<String>,
    hostname: Option<String>,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct NamedGroup {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nic {
    uuid: Option<String>,
    port: Option<String>,
    fixed_ip: Option<String>,
    tag: Option<String>,
}

#[derive(Serialize)]
struct Created<'a> {
    id: InstanceId,
    links: Links<'a, InstanceId>,
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: &'static str,
    security_groups: Vec<NamedGroup>,
    #[serde(rename = "adminPass")]
    admin_pass: String,
}

pub async fn create(ctx: Ctx) -> Reply {
    let mut body = ctx.object()?;
    let ask: CreateServer = ctx.typed("server", ctx.take(&mut body, "server")?)?;
    let hints = hints(&mut body)?;
    check(&ctx, &ask)?;
    let caller = ctx.caller()?;
    let version = ctx.version;

    let min_count = ask.min_count.as_ref().map_or(Ok(1), |v| integer("min_count", v, 1, i32::MAX as u64))?;
    let max_count = ask.max_count.as_ref().map_or(Ok(min_count), |v| integer("max_count", v, 1, i32::MAX as u64))?;
    if min_count > max_count {
        return Err(Fault::bad_request("min_count must be <= max_count"));
    }
    if min_count > MOST {
        return Err(Fault::bad_request(format!("min_count is too large: one call makes at most {MOST} servers.")));
    }
    let (zone, wanted_host) = place(&ctx, &ask)?;
    let networks = networks(&ctx, ask.networks.as_ref())?;
    let ports = match &networks {
        WantedNetworks::Nothing => 0,
        WantedNetworks::These(nics) => nics.iter().filter(|n| matches!(n.target, NicTarget::Network { .. })).count(),
        _ => 1,
    };
    let ports = ports.max(usize::from(matches!(&networks, WantedNetworks::These(nics) if nics.is_empty())));
    let count = max_count.min(MOST);
    let instances: Vec<NewInstance> = (0..count).map(|_| new_instance(ports)).collect();
    let first = instances[0].id;
    let admin_pass = ask.admin_pass.clone();
    let user_data = match &ask.user_data {
        Some(text) => Some(ctx.app.compute.keep(&ctx, check_user_data(text)?).await?),
        None => None,
    };
    let reservation = format!("r-{}", &crate::frame::new_uuid().simple().encode_lower(&mut Uuid::encode_buffer())[..8]);
    let title = name("name", &ask.name)?;
    let command = RequestInstances {
        instances,
        min_count: usize::try_from(min_count).unwrap_or(usize::MAX),
        project: ctx.project()?,
        user: caller.user,
        admin: ctx.is_admin(),
        description: match ask.description {
            Some(text) => description(text)?,
            None if version < Microversion(2, 19) => Some(title.clone()),
            None => None,
        },
        name: title,
        hostname: ask.hostname.as_deref().map(|h| hostname(h, version)).transpose()?,
        flavor: reference("flavorRef", &ask.flavor)?.as_str().into(),
        image: image(ask.image.as_deref())?,
        key_name: ask.key_name,
        metadata: ask.metadata.unwrap_or_default(),
        tags: dedup(ask.tags.unwrap_or_default()),
        networks,
        security_groups: dedup(ask.security_groups.iter().flatten().map(|g| g.name.clone()).collect()),
        default_group: default_group_ids(),
        config_drive: ask.config_drive.as_ref().map_or(Ok(false), |v| boolean("config_drive", v))?,
        user_data,
        disk_config_auto: ask.disk_config.as_deref().map(disk_config).transpose()?,
        access_ipv4: access("accessIPv4", ask.access_ipv4)?,
        access_ipv6: access("accessIPv6", ask.access_ipv6)?,
        zone,
        wanted_host,
        group: group(&hints)?,
        hints,
        reservation: reservation.clone(),
    };
    let auto = command.disk_config_auto.unwrap_or(false);
    if let Err(fault) = ctx.run(command).await {
        // A refusal is certain; without an answer from the log the server may be there.
        if let Some(id) = user_data.filter(|_| fault.status < 500) {
            ctx.app.compute.forget(&ctx, id).await;
        }
        return Err(fault);
    }

    if ask.return_reservation_id.as_ref().map_or(Ok(false), |v| boolean("return_reservation_id", v))? {
        return Ok(Answer::accepted(&serde_json::json!({ "reservation_id": reservation })));
    }
    let server = Created {
        id: first,
        links: Links { base: &ctx.base, collection: "servers", id: &first },
        disk_config: if auto { "AUTO" } else { "MANUAL" },
        security_groups: ask.security_groups.unwrap_or_else(|| vec![NamedGroup { name: "default".into() }]),
        admin_pass: admin_pass.unwrap_or_else(|| ctx.app.compute.password(&first)),
    };
    Ok(Answer::accepted(&Server { server }).header("location", &format!("{}/compute/v2.1/servers/{first}", ctx.base)))
}

/// What this microversion has not, and what this cloud can't do yet: refused, never dropped in silence.
fn check(ctx: &Ctx, ask: &CreateServer) -> Result<(), Fault> {
    since(ctx, 19, "description", ask.description.is_some())?;
    since(ctx, 52, "tags", ask.tags.is_some())?;
    since(ctx, 63, "trusted_image_certificates", ask.trusted_image_certificates.is_some())?;
    since(ctx, 74, "host", ask.host.is_some())?;
    since(ctx, 74, "hypervisor_hostname", ask.hypervisor_hostname.is_some())?;
    since(ctx, 90, "hostname", ask.hostname.is_some())?;
    if ask.personality.is_some() && ctx.version >= Microversion(2, 57) {
        return Err(unexpected("server", "personality"));
    }
    if ask.personality.as_ref().is_some_and(|p| !p.is_empty()) {
        return Err(Fault::bad_request("Personality files are not supported by this cloud: use user_data or a config drive."));
    }
    if ask.trusted_image_certificates.as_ref().is_some_and(|c| !c.is_empty()) {
        return Err(Fault::bad_request("Image certificates are not supported by this cloud: leave trusted_image_certificates out."));
    }
    if ask.networks.is_none() && ctx.version >= Microversion(2, 37) {
        return Err(invalid("server", "'networks' is a required property"));
    }
    if ask.block_device_mapping.as_ref().is_some_and(|b| !b.is_empty()) {
        return Err(no_volumes());
    }
    for device in ask.block_device_mapping_v2.iter().flatten() {
        // The image's own local disk, said the long way.
        let is = |key: &str, value: &str| device.get(key).and_then(Value::as_str) == Some(value);
        let same = device.get("uuid").and_then(Value::as_str) == ask.image.as_deref();
        if !(is("source_type", "image") && is("destination_type", "local") && same) {
            return Err(no_volumes());
        }
    }
    if let Some(metadata) = &ask.metadata {
        check_metadata(metadata)?;
    }
    for tag in ask.tags.iter().flatten() {
        check_tag(tag)?;
    }
    if let Some(key) = &ask.key_name {
        name("key_name", key)?;
    }
    if let Some(password) = &ask.admin_pass
        && (password.is_empty() || password.chars().count() > 255)
    {
        return Err(invalid("adminPass", "It must have 1 to 255 characters."));
    }
    Ok(())
}

fn no_volumes() -> Fault {
    Fault::bad_request("Block Device Mapping is Invalid: this cloud has no block storage yet; boot from an image, without block devices.")
}

fn check_user_data(text: &str) -> Result<&str, Fault> {
    if text.len() > 65_535 {
        return Err(invalid("user_data", "It is too long: at most 65535 characters of base64 are taken."));
    }
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match STANDARD.decode(packed) {
        Ok(_) => Ok(text),
        Err(_) => Err(invalid("user_data", "It is not valid base64.")),
    }
}

/// The last segment of an id or of a link to it.
fn reference(field: &str, value: &Value) -> Result<String, Fault> {
    let text = match value {
        Value::String(s) => s.clone(),
        Value::Number(n) if n.is_u64() => n.to_string(),
        _ => return Err(invalid(field, "It must be an id.")),
    };
    match text.rsplit('/').next() {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(invalid(field, "It must be an id.")),
    }
}

fn image(reference: Option<&str>) -> Result<strata_events::ImageId, Fault> {
    match reference.map(|r| r.rsplit('/').next().unwrap_or_default()) {
        None | Some("") => Err(Fault::bad_request("Missing imageRef attribute")),
        Some(id) => id.parse().map_err(|_| Fault::bad_request("Invalid imageRef provided.")),
    }
}

/// `zone`, `zone:host` or `zone:host:node`; or, from 2.74 on, a host by its own field.
fn place(ctx: &Ctx, ask: &CreateServer) -> Result<(Option<String>, Option<HostName>), Fault> {
    let forced = "os_compute_api:servers:create:forced_host";
    let requested = "compute:servers:create:requested_destination";
    let mut parts = ask.availability_zone.as_deref().unwrap_or_default().split(':');
    let zone = parts.next().filter(|z| !z.is_empty()).map(|z| name("availability_zone", z)).transpose()?;
    let named: Vec<&str> = parts.filter(|p| !p.is_empty()).collect();
    let by_zone = match named[..] {
        [] => None,
        [host] => Some(host),
        [host, node] if host == node => Some(host),
        _ => return Err(Fault::bad_request("Invalid input received: Unable to parse availability_zone")),
    };
    let by_field = match (&ask.host, &ask.hypervisor_hostname) {
        (Some(host), Some(node)) if host != node => {
            return Err(Fault::bad_request(format!("Compute host {host} has no hypervisor of the name {node}.")));
        }
        (Some(host), _) | (None, Some(host)) => Some(host.as_str()),
        (None, None) => None,
    };
    let host = match (by_zone, by_field) {
        (Some(_), Some(_)) => {
            return Err(Fault::bad_request(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive.",
            ));
        }
        (Some(host), None) => {
            ctx.require(Rule::admin(forced))?;
            Some(host)
        }
        (None, Some(host)) => {
            ctx.require(Rule::admin(requested))?;
            Some(host)
        }
        (None, None) => None,
    };
    let host =
        host.map(|h| HostName::parse(h).map_err(|_| Fault::bad_request(format!("Compute host {h} could not be found.")))).transpose()?;
    // A host that was named counts more than the zone beside it.
    Ok((zone.filter(|_| by_zone.is_none()), host))
}

fn networks(ctx: &Ctx, wanted: Option<&Value>) -> Result<WantedNetworks, Fault> {
    let named = ctx.version >= Microversion(2, 37);
    let list = match wanted {
        None => return Ok(WantedNetworks::Unsaid),
        Some(Value::String(word)) if named && word == "auto" => return Ok(WantedNetworks::Auto),
        Some(Value::String(word)) if named && word == "none" => return Ok(WantedNetworks::Nothing),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(invalid("networks", "It must be a list, or from microversion 2.37 on 'auto' or 'none'.")),
    };
    if list.len() > MOST_NICS {
        return Err(invalid("networks", &format!("At most {MOST_NICS} are taken.")));
    }
    let mut nics: Vec<NicAsk> = vec![];
    for (index, item) in list.iter().enumerate() {
        let nic: Nic = ctx.typed(&format!("networks.{index}"), item.clone())?;
        if nic.tag.is_some() {
            if !(ctx.version == Microversion(2, 32) || ctx.version >= Microversion(2, 42)) {
                return Err(unexpected(&format!("networks.{index}"), "tag"));
            }
            return Err(Fault::bad_request("Device tags are not supported by this cloud: leave tag out."));
        }
        let fixed_ip = match nic.fixed_ip.as_deref() {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|_| invalid(&format!("networks.{index}.fixed_ip"), &format!("'{text}' is not an IP address")))?)
            }
        };
        let target = match (&nic.port, &nic.uuid) {
            (Some(port), _) => {
                let id: PortId =
                    port.parse().map_err(|_| invalid(&format!("networks.{index}.port"), &format!("'{port}' is not a 'uuid'")))?;
                if let Some(ip) = fixed_ip {
                    let ip: std::net::IpAddr = ip;
                    return Err(Fault::bad_request(format!(
                        "Specified Fixed IP '{ip}' cannot be used with port '{id}': the two cannot be specified together."
                    )));
                }
                if nics.iter().any(|n| n.target == NicTarget::Port(id)) {
                    return Err(Fault::bad_request(format!(
                        "Port ID '{id}' was specified twice: you cannot attach a port multiple times."
                    )));
                }
                NicTarget::Port(id)
            }
            (None, Some(uuid)) => {
                let bad = || Fault::bad_request(format!("Bad networks format: network uuid is not in proper format ({uuid})"));
                NicTarget::Network { id: uuid.parse().map_err(|_| bad())?, fixed_ip }
            }
            (None, None) => return Err(Fault::bad_request("Bad network format: missing 'uuid'")),
        };
        nics.push(NicAsk { target });
    }
    Ok(WantedNetworks::These(nics))
}

/// The scheduler's hints, beside the server in the body.
fn hints(body: &mut Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let mut hints = Map::new();
    for key in ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"] {
        if let Some(value) = body.remove(key) {
            match value {
                Value::Object(map) if hints.is_empty() => hints = map,
                Value::Object(_) => {}
                _ => return Err(invalid(key, "It must be an object.")),
            }
        }
    }
    if let Some(other) = body.keys().next() {
        return Err(Fault::bad_request(format!("Additional properties are not allowed ('{other}' was unexpected)")));
    }
    for key in ["same_host", "different_host"] {
        let ids: Vec<&Value> = match hints.get(key) {
            None => continue,
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one) => vec![one],
        };
        if let Some(bad) = ids.iter().find(|v| v.as_str().is_none_or(|s| s.parse::<InstanceId>().is_err())) {
            return Err(invalid(&format!("os:scheduler_hints.{key}"), &format!("{bad} is not a 'uuid'")));
        }
    }
    Ok(hints)
}

fn group(hints: &Map<String, Value>) -> Result<Option<ServerGroupId>, Fault> {
    let id = match hints.get("group") {
        None => return Ok(None),
        Some(Value::Array(list)) => match &list[..] {
            [] => return Ok(None),
            [one, ..] => one,
        },
        Some(one) => one,
    };
    let text = id.as_str().unwrap_or_default();
    text.parse().map(Some).map_err(|_| invalid("os:scheduler_hints.group", &format!("{id} is not a 'uuid'")))
}

fn dedup(mut list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
    list
}

/// New ids for a server with so many new ports.
fn new_instance(ports: usize) -> NewInstance {
    NewInstance { id: InstanceId(crate::frame::new_uuid()), ports: (0..ports).map(|_| port_seed()).collect() }
}

/// A new port's id, and a MAC with OpenStack's prefix to begin the search for a free one.
pub fn port_seed() -> PortSeed {
    let id = crate::frame::new_uuid();
    let [.., a, b, c] = *id.as_bytes();
    PortSeed { id: PortId(id), mac: MacAddress([0xfa, 0x16, 0x3e, a, b, c]) }
}

/// Ids for a project's default security group, should it have to be made.
pub fn default_group_ids() -> DefaultGroupIds {
    let new = || crate::frame::new_uuid();
    DefaultGroupIds { group: SecurityGroupId(new()), rules: std::array::from_fn(|_| SecurityGroupRuleId(new())) }
}
