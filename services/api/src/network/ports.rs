//! Ports over HTTP. Source: network api-ref, "Ports"; extensions binding, port-security, allowed-address-pairs, extra_dhcp_opt,
//! security-group, standard attributes.

use super::attrs::{Flag, Ip, Mac, Name, Number, Text, Unique, given, network};
use super::body::{Attribute, Default as D, Table, both, post, read};
use super::caller::{default_group_ids, denied, random_mac};
use super::list::{list, many, one};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use strata_conductor::Together;
use strata_conductor::decide::address::WantedIp;
use strata_conductor::decide::port::{CreatePort, DeletePort, NewPort, PortChanges, UpdatePort, WantedMac, WantedPair};
use strata_events::port::DhcpOption;
use strata_events::{HostName, NetworkId, PortId, SecurityGroupId, SubnetId};
use strata_projections::Cloud;
use strata_projections::cloud::network::Network;
use strata_projections::cloud::port::Port;

mod view;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/ports", index, Rule::token("get_port"));
    r.post("/v2.0/ports", create, Rule::member("create_port"));
    r.get("/v2.0/ports/{id}", show, Rule::token("get_port"));
    r.put("/v2.0/ports/{id}", update, Rule::member("update_port"));
    r.delete("/v2.0/ports/{id}", delete, Rule::member("delete_port"));
}

const TABLE: Table = Table { one: "port", many: "ports", required: &["network_id"], attributes: ATTRIBUTES };
const ATTRIBUTES: &[Attribute] = &[
    both("name"),
    both("description"),
    both("admin_state_up"),
    both("fixed_ips"),
    both("security_groups"),
    both("port_security_enabled"),
    both("allowed_address_pairs"),
    both("extra_dhcp_opts"),
    both("device_id"),
    both("device_owner"),
    both("mac_address"),
    both("binding:vnic_type"),
    both("binding:profile").admin(D::Empty),
    both("binding:host_id").admin(D::Empty),
    post("network_id"),
    post("tenant_id"),
    post("project_id"),
    post("tags"),
    read("id"),
    read("status"),
    read("binding:vif_type"),
    read("binding:vif_details"),
    read("created_at"),
    read("updated_at"),
    read("revision_number"),
];

#[derive(Deserialize)]
struct Ask {
    name: Option<Name>,
    description: Option<Name>,
    admin_state_up: Option<Flag>,
    fixed_ips: Option<Vec<AskIp>>,
    security_groups: Option<Unique<SecurityGroupId>>,
    port_security_enabled: Option<Flag>,
    allowed_address_pairs: Option<Vec<AskPair>>,
    extra_dhcp_opts: Option<Vec<AskOption>>,
    device_id: Option<Name>,
    device_owner: Option<Name>,
    mac_address: Option<Mac>,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: Option<Name>,
    #[serde(rename = "binding:profile")]
    profile: Option<Map<String, Value>>,
    #[serde(rename = "binding:host_id", default, deserialize_with = "given")]
    host: Option<Option<Name>>,
    network_id: Option<NetworkId>,
    tenant_id: Option<Name>,
    project_id: Option<Name>,
    tags: Option<Vec<Name>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskIp {
    subnet_id: Option<SubnetId>,
    ip_address: Option<Ip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskPair {
    ip_address: Name,
    mac_address: Option<Mac>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskOption {
    opt_name: Text<64>,
    opt_value: Option<Name>,
    ip_version: Option<Number>,
}

impl Ask {
    fn fixed_ips(&mut self) -> Option<Vec<WantedIp>> {
        let wanted = |ip: AskIp| WantedIp { subnet: ip.subnet_id, ip: ip.ip_address.map(|ip| ip.0) };
        self.fixed_ips.take().map(|ips| ips.into_iter().map(wanted).collect())
    }
    fn pairs(&mut self) -> Result<Option<Vec<WantedPair>>, Fault> {
        let wanted = |pair: AskPair| {
            let Text(ip_address) = pair.ip_address;
            match network(&ip_address) {
                Some(_) => Ok(WantedPair { ip_address, mac_address: pair.mac_address.map(|m| m.0) }),
                None => Err(Fault::bad_request(format!(
                    "Invalid input for allowed_address_pairs. Reason: '{ip_address}' is not a valid IP address or IP subnet."
                ))),
            }
        };
        self.allowed_address_pairs.take().map(|pairs| pairs.into_iter().map(wanted).collect()).transpose()
    }
    /// By name and IP version; without a value the option goes.
    fn options(&mut self) -> Result<Vec<(String, u8, Option<String>)>, Fault> {
        let invalid = |why: String| Fault::bad_request(format!("Invalid input for extra_dhcp_opts. Reason: {why}."));
        let one = |o: AskOption| {
            let version = o.ip_version.map_or(4, |n| n.0);
            let line = |t: &str| !t.trim().is_empty() && !t.contains(['\n', '\r', '\t', '\0']);
            let value = o.opt_value.map(|v| v.0);
            match version {
                4 | 6 if line(&o.opt_name.0) && value.as_deref().is_none_or(line) => Ok((o.opt_name.0, version as u8, value)),
                4 | 6 => Err(invalid("names and values must be one line and not blank".into())),
                _ => Err(invalid(format!("'{version}' is not in [4, 6]"))),
            }
        };
        self.extra_dhcp_opts.take().unwrap_or_default().into_iter().map(one).collect()
    }
    fn host(&mut self) -> Result<Option<Option<HostName>>, Fault> {
        let Some(host) = self.host.take() else { return Ok(None) };
        let host = host.map(|t| t.0).filter(|h| !h.is_empty());
        Ok(Some(host.map(|h| HostName::parse(&h)).transpose()?))
    }
    fn check_vnic_type(&self) -> Result<(), Fault> {
        match &self.vnic_type {
            Some(Text(t)) if t != "normal" => {
                Err(Fault::bad_request(format!("Invalid input for binding:vnic_type. Reason: '{t}' is not in ['normal'].")))
            }
            _ => Ok(()),
        }
    }
    /// What only the owner of the network may say about a port on it. `create` also lets defaults through.
    fn check_owner(&self, ctx: &Ctx, network: &Network, creating: bool) -> Result<(), Fault> {
        if ctx.owns(&network.project) {
            let mac = !creating && self.mac_address.is_some() && !ctx.is_admin();
            return if mac { Err(denied("update_port", &["mac_address"])) } else { Ok(()) };
        }
        let owner = self.device_owner.as_ref().is_some_and(|o| o.0.starts_with("network:"));
        let pairs = self.allowed_address_pairs.as_ref().is_some_and(|p| !creating || !p.is_empty());
        let ips = self.fixed_ips.iter().flatten().any(|ip| ip.ip_address.is_some());
        let said = [
            ("device_owner", owner),
            ("mac_address", self.mac_address.is_some()),
            ("fixed_ips:ip_address", ips),
            ("port_security_enabled", self.port_security_enabled.is_some()),
            ("allowed_address_pairs", pairs),
        ];
        let refused: Vec<&str> = said.iter().filter(|(_, said)| *said).map(|(name, _)| *name).collect();
        let rule = if creating { "create_port" } else { "update_port" };
        if refused.is_empty() { Ok(()) } else { Err(denied(rule, &refused)) }
    }
    fn command(mut self, ctx: &Ctx) -> Result<CreatePort, Fault> {
        let scope = ctx.network_scope();
        let network =
            self.network_id.ok_or_else(|| Fault::bad_request("Failed to parse request. Required attribute 'network_id' not specified"))?;
        let network = scope.network(&ctx.cloud, &network).map_err(|r| Fault::refused(ctx.service(), r))?;
        if !ctx.owns(&network.project) && !network.attributes.shared {
            // External networks are seen by all, but only their owner plugs things in directly.
            return Err(denied("create_port", &[]));
        }
        self.check_owner(ctx, network, true)?;
        self.check_vnic_type()?;
        let project = ctx.owner_of_new(self.tenant_id.as_ref(), self.project_id.as_ref())?;
        let options = self
            .options()?
            .into_iter()
            .filter_map(|(opt_name, ip_version, value)| value.map(|opt_value| DhcpOption { opt_name, opt_value, ip_version }));
        let tags = self.tags.take().unwrap_or_default().into_iter().map(|t| t.0).collect();
        let plain = NewPort::plain(PortId(crate::frame::new_uuid()), project, scope, network.id, random_mac(), default_group_ids());
        Ok(CreatePort(NewPort {
            extra_dhcp_opts: options.collect(),
            mac: self.mac_address.map_or(plain.mac, |m| WantedMac::This(m.0)),
            fixed_ips: self.fixed_ips(),
            allowed_address_pairs: self.pairs()?.unwrap_or_default(),
            binding_host: self.host()?.flatten(),
            security_groups: self.security_groups.map(|g| g.0),
            port_security_enabled: self.port_security_enabled.map(|f| f.0),
            name: self.name.unwrap_or_default().0,
            description: self.description.unwrap_or_default().0,
            admin_state_up: self.admin_state_up.is_none_or(|f| f.0),
            device_id: self.device_id.unwrap_or_default().0,
            device_owner: self.device_owner.unwrap_or_default().0,
            binding_profile: self.profile.unwrap_or_default(),
            tags,
            ..plain
        }))
    }
}

async fn create(ctx: Ctx) -> Reply {
    let asked = TABLE.created::<Ask>(&ctx)?;
    let commands: Vec<CreatePort> = asked.items.into_iter().map(|ask| ask.command(&ctx)).collect::<Result<_, _>>()?;
    let ids: Vec<PortId> = commands.iter().map(|c| c.0.id).collect();
    let done = ctx.carry_out(Together(commands)).await?;
    let made: Vec<&Port> = ids.iter().filter_map(|id| done.cloud.ports.get(id)).map(|p| &**p).collect();
    if asked.bulk { many(&ctx, 201, &done.cloud, &made) } else { one(&ctx, 201, &done.cloud, made[0]) }
}

/// Own ones, those on own networks, and all for admins.
fn sees(ctx: &Ctx, cloud: &Cloud, port: &Port) -> bool {
    ctx.sees(&port.project) || cloud.networks.get(&port.network).is_some_and(|n| ctx.sees(&n.project))
}

async fn index(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    let seen = |p: &&Arc<Port>| sees(&ctx, cloud, p);
    // An index where a filter names what it is by; the list checks every filter again.
    if let (Some(device), 1) = (ctx.query.get("device_id").filter(|d| !d.is_empty()), ctx.query.all("device_id").count()) {
        return list(&ctx, cloud, cloud.ports.of_device(device).filter(seen).map(|p| &**p));
    }
    if let (Some(Ok(network)), 1) = (ctx.query.get("network_id").map(str::parse), ctx.query.all("network_id").count()) {
        return list(&ctx, cloud, cloud.ports.on_network(&network).filter(seen).map(|p| &**p));
    }
    match ctx.caller()?.project() {
        _ if ctx.is_admin() => list(&ctx, cloud, cloud.ports.values().map(|p| &**p)),
        Some(project) => {
            let on_own = cloud.networks.of_project(&project).flat_map(|n| cloud.ports.on_network(&n.id)).filter(|p| p.project != project);
            list(&ctx, cloud, cloud.ports.of_project(&project).chain(on_own).map(|p| &**p))
        }
        None => list(&ctx, cloud, std::iter::empty::<&Port>()),
    }
}

/// The port of the path, if the caller may know of it.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Port>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Port {text} could not be found.")).with_kind("PortNotFound");
    let id: PortId = text.parse().map_err(|_| missing())?;
    cloud.ports.get(&id).filter(|p| sees(ctx, cloud, p)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &**find(&ctx, &ctx.cloud)?)
}

async fn update(ctx: Ctx) -> Reply {
    let port = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&port.project, "update_port")?;
    let (id, mut ask) = (port.id, TABLE.changed::<Ask>(&ctx)?);
    if let Some(network) = ctx.cloud.networks.get(&port.network) {
        ask.check_owner(&ctx, network, false)?;
    }
    ask.check_vnic_type()?;
    let changes = PortChanges {
        fixed_ips: ask.fixed_ips(),
        allowed_address_pairs: ask.pairs()?,
        extra_dhcp_opts: ask.options()?,
        binding_host: ask.host()?,
        name: ask.name.map(|t| t.0),
        description: ask.description.map(|t| t.0),
        admin_state_up: ask.admin_state_up.map(|f| f.0),
        mac: ask.mac_address.map(|m| m.0),
        security_groups: ask.security_groups.map(|g| g.0),
        port_security_enabled: ask.port_security_enabled.map(|f| f.0),
        device_id: ask.device_id.map(|t| t.0),
        device_owner: ask.device_owner.map(|t| t.0),
        vnic_type: None,
        binding_profile: ask.profile,
        tags: None,
    };
    let update = UpdatePort { id, scope: ctx.network_scope(), changes, revision: ctx.wanted_revision()? };
    let done = ctx.carry_out(update).await?;
    let port = done.cloud.ports.get(&id).ok_or_else(|| denied("update_port", &[]))?;
    one(&ctx, 200, &done.cloud, &**port)
}

async fn delete(ctx: Ctx) -> Reply {
    let port = find(&ctx, &ctx.cloud)?;
    let of_network = ctx.cloud.networks.get(&port.network).is_some_and(|n| ctx.owns(&n.project));
    if !of_network {
        ctx.may_change(&port.project, "delete_port")?;
    }
    ctx.carry_out(DeletePort { id: port.id, revision: ctx.wanted_revision()? }).await?;
    Ok(Answer::no_content())
}
