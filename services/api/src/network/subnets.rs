//! Subnets over HTTP. Source: network api-ref, "Subnets"; extensions subnet-service-types and standard attributes.

use super::attrs::{Cidr, Flag, Ip, Name, Number, given};
use super::body::{Attribute, Table, both, post, read};
use super::caller::{denied, port_seed};
use super::list::{At, Attr, Noun, list, many, one};
use super::time::Seconds;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use strata_conductor::Together;
use strata_conductor::decide::subnet::{CreateSubnet, DeleteSubnet, Gateway, SubnetChanges, UpdateSubnet};
use strata_events::subnet::{HostRoute, Pool, SubnetAttributes};
use strata_events::{NetworkId, ProjectId, SubnetId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::subnet::Subnet;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/subnets", index, Rule::token("get_subnet"));
    r.post("/v2.0/subnets", create, Rule::member("create_subnet"));
    r.get("/v2.0/subnets/{id}", show, Rule::token("get_subnet"));
    r.put("/v2.0/subnets/{id}", update, Rule::member("update_subnet"));
    r.delete("/v2.0/subnets/{id}", delete, Rule::member("delete_subnet"));
}

const TABLE: Table = Table { one: "subnet", many: "subnets", required: &["network_id", "ip_version"], attributes: ATTRIBUTES };
const ATTRIBUTES: &[Attribute] = &[
    both("name"),
    both("description"),
    both("enable_dhcp"),
    both("gateway_ip"),
    both("allocation_pools"),
    both("dns_nameservers"),
    both("host_routes"),
    both("service_types"),
    post("network_id"),
    post("cidr"),
    post("ip_version"),
    post("ipv6_address_mode"),
    post("ipv6_ra_mode"),
    post("subnetpool_id"),
    post("tenant_id"),
    post("project_id"),
    read("id"),
    read("tags"),
    read("created_at"),
    read("updated_at"),
    read("revision_number"),
];

#[derive(Deserialize)]
struct Ask {
    name: Option<Name>,
    description: Option<Name>,
    enable_dhcp: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    gateway_ip: Option<Option<Ip>>,
    allocation_pools: Option<Vec<AskPool>>,
    dns_nameservers: Option<Vec<Ip>>,
    host_routes: Option<Vec<AskRoute>>,
    service_types: Option<Vec<Name>>,
    network_id: Option<NetworkId>,
    cidr: Option<Cidr>,
    ip_version: Option<Number>,
    ipv6_address_mode: Option<Mode>,
    ipv6_ra_mode: Option<Mode>,
    subnetpool_id: Option<Name>,
    tenant_id: Option<Name>,
    project_id: Option<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskPool {
    start: Ip,
    end: Ip,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskRoute {
    destination: Cidr,
    nexthop: Ip,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Slaac,
    Dhcpv6Stateful,
    Dhcpv6Stateless,
}
impl Mode {
    fn text(self) -> String {
        match self {
            Mode::Slaac => "slaac",
            Mode::Dhcpv6Stateful => "dhcpv6-stateful",
            Mode::Dhcpv6Stateless => "dhcpv6-stateless",
        }
        .into()
    }
}

fn pools(pools: Vec<AskPool>) -> Vec<Pool> {
    pools.into_iter().map(|p| Pool { start: p.start.0, end: p.end.0 }).collect()
}
fn routes_of(routes: Vec<AskRoute>) -> Vec<HostRoute> {
    routes.into_iter().map(|r| HostRoute { destination: r.destination.0, nexthop: r.nexthop.0 }).collect()
}
fn nameservers(ips: Vec<Ip>) -> Result<Vec<IpAddr>, Fault> {
    let ips: Vec<IpAddr> = ips.into_iter().map(|ip| ip.0).collect();
    match ips.iter().enumerate().find(|(i, ip)| ips[..*i].contains(ip)) {
        None => Ok(ips),
        Some((_, ip)) => Err(Fault::bad_request(format!("Invalid input for dns_nameservers. Reason: Duplicate nameserver '{ip}'."))),
    }
}
/// A service type is the owner of ports: `network:dhcp`, `compute:nova`.
fn service_types(types: Vec<Name>) -> Result<Vec<String>, Fault> {
    let types: Vec<String> = types.into_iter().map(|t| t.0).collect();
    for (i, t) in types.iter().enumerate() {
        // Any owner that a port may have: who, and what for.
        if t.split_once(':').is_none_or(|(who, _)| who.is_empty()) {
            let message = format!("Subnet service type {t} does not correspond to a valid device owner.");
            return Err(Fault::bad_request(message).with_kind("InvalidSubnetServiceType"));
        }
        if types[..i].contains(t) {
            return Err(Fault::bad_request(format!("Invalid input for service_types. Reason: Duplicate service type '{t}'.")));
        }
    }
    Ok(types)
}

impl Ask {
    fn command(self, ctx: &Ctx) -> Result<CreateSubnet, Fault> {
        let scope = ctx.network_scope();
        let refused = |refusal| Fault::refused(ctx.service(), refusal);
        let network =
            self.network_id.ok_or_else(|| Fault::bad_request("Failed to parse request. Required attribute 'network_id' not specified"))?;
        let network = scope.network(&ctx.cloud, &network).map_err(refused)?;
        if !ctx.owns(&network.project) {
            return Err(denied("create_subnet", &[]));
        }
        if let Some(pool) = self.subnetpool_id.as_ref().map(|t| &t.0) {
            return Err(Fault::not_found(format!("Subnet pool {pool} could not be found.")).with_kind("SubnetPoolNotFound"));
        }
        let Some(Cidr(cidr)) = self.cidr else {
            return Err(
                Fault::bad_request("Bad subnets request: a subnetpool must be specified in the absence of a cidr.").with_kind("BadRequest")
            );
        };
        let version = self.ip_version.map(|n| n.0);
        if ![Some(4), Some(6)].contains(&version) {
            let given = version.map(|v| v.to_string()).unwrap_or_default();
            return Err(Fault::bad_request(format!("Invalid input for ip_version. Reason: '{given}' is not in [4, 6].")));
        }
        if (version == Some(4)) != matches!(cidr, IpNet::V4(_)) {
            let message = format!("Invalid input for operation: cidr '{cidr}' does not match the ip_version '{}'.", version.unwrap_or(4));
            return Err(Fault::bad_request(message).with_kind("InvalidInput"));
        }
        Ok(CreateSubnet {
            id: SubnetId(crate::frame::new_uuid()),
            project: ctx.owner_of_new(self.tenant_id.as_ref(), self.project_id.as_ref())?,
            scope,
            network: network.id,
            cidr,
            gateway: match self.gateway_ip {
                None => Gateway::First,
                Some(None) => Gateway::None,
                Some(Some(Ip(ip))) => Gateway::Is(ip),
            },
            pools: self.allocation_pools.map(pools),
            ipv6_address_mode: self.ipv6_address_mode.map(Mode::text),
            ipv6_ra_mode: self.ipv6_ra_mode.map(Mode::text),
            attributes: SubnetAttributes {
                name: self.name.unwrap_or_default().0,
                description: self.description.unwrap_or_default().0,
                gateway_ip: None,
                enable_dhcp: self.enable_dhcp.is_none_or(|f| f.0),
                allocation_pools: vec![],
                dns_nameservers: nameservers(self.dns_nameservers.unwrap_or_default())?,
                host_routes: routes_of(self.host_routes.unwrap_or_default()),
                dns_publish_fixed_ip: false,
                service_types: service_types(self.service_types.unwrap_or_default())?,
                tags: vec![],
            },
            distributed: port_seed(),
        })
    }
}

async fn create(ctx: Ctx) -> Reply {
    let asked = TABLE.created::<Ask>(&ctx)?;
    let commands: Vec<CreateSubnet> = asked.items.into_iter().map(|ask| ask.command(&ctx)).collect::<Result<_, _>>()?;
    let ids: Vec<SubnetId> = commands.iter().map(|c| c.id).collect();
    let done = ctx.carry_out(Together(commands)).await?;
    let made: Vec<&Subnet> = ids.iter().filter_map(|id| done.cloud.subnets.get(id)).map(|s| &**s).collect();
    if asked.bulk { many(&ctx, 201, &done.cloud, &made) } else { one(&ctx, 201, &done.cloud, made[0]) }
}

/// Own ones, those of shared networks, and all for admins.
fn sees(ctx: &Ctx, cloud: &Cloud, subnet: &Subnet) -> bool {
    ctx.sees(&subnet.project) || cloud.networks.get(&subnet.network).is_some_and(|n| n.attributes.shared || ctx.sees(&n.project))
}

async fn index(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    list(&ctx, cloud, cloud.subnets.values().filter(|s| sees(&ctx, cloud, s)).map(|s| &**s))
}

/// The subnet of the path, if the caller may know of it.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Subnet>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Subnet {text} could not be found.")).with_kind("SubnetNotFound");
    let id: SubnetId = text.parse().map_err(|_| missing())?;
    cloud.subnets.get(&id).filter(|s| sees(ctx, cloud, s)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &**find(&ctx, &ctx.cloud)?)
}

/// The owners of a subnet are its own and its network's.
pub fn may_change(ctx: &Ctx, cloud: &Cloud, subnet: &Subnet, rule: &str) -> Result<(), Fault> {
    let of_network = cloud.networks.get(&subnet.network).is_some_and(|n| ctx.owns(&n.project));
    if of_network { Ok(()) } else { ctx.may_change(&subnet.project, rule) }
}

async fn update(ctx: Ctx) -> Reply {
    let subnet = find(&ctx, &ctx.cloud)?;
    may_change(&ctx, &ctx.cloud, subnet, "update_subnet")?;
    let (id, ask) = (subnet.id, TABLE.changed::<Ask>(&ctx)?);
    let changes = SubnetChanges {
        name: ask.name.map(|t| t.0),
        description: ask.description.map(|t| t.0),
        gateway: ask.gateway_ip.map(|ip| ip.map(|ip| ip.0)),
        enable_dhcp: ask.enable_dhcp.map(|f| f.0),
        pools: ask.allocation_pools.map(pools),
        dns_nameservers: ask.dns_nameservers.map(nameservers).transpose()?,
        host_routes: ask.host_routes.map(routes_of),
        service_types: ask.service_types.map(service_types).transpose()?,
        tags: None,
    };
    let done = ctx.carry_out(UpdateSubnet { id, changes, revision: ctx.wanted_revision()?, distributed: port_seed() }).await?;
    let subnet = done.cloud.subnets.get(&id).ok_or_else(|| denied("update_subnet", &[]))?;
    one(&ctx, 200, &done.cloud, &**subnet)
}

async fn delete(ctx: Ctx) -> Reply {
    let subnet = find(&ctx, &ctx.cloud)?;
    may_change(&ctx, &ctx.cloud, subnet, "delete_subnet")?;
    ctx.carry_out(DeleteSubnet { id: subnet.id, revision: ctx.wanted_revision()? }).await?;
    Ok(Answer::no_content())
}

/// A subnet as the API shows it.
#[derive(Serialize)]
pub struct View<'a> {
    id: &'a SubnetId,
    name: &'a str,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    network_id: &'a NetworkId,
    ip_version: u8,
    /// There are no subnet pools; clients expect the attribute.
    subnetpool_id: Option<&'a str>,
    enable_dhcp: bool,
    ipv6_ra_mode: Option<&'a str>,
    ipv6_address_mode: Option<&'a str>,
    gateway_ip: Option<IpAddr>,
    cidr: &'a IpNet,
    allocation_pools: &'a [Pool],
    host_routes: &'a [HostRoute],
    dns_nameservers: &'a [IpAddr],
    description: &'a str,
    service_types: &'a [String],
    tags: &'a [String],
    created_at: Seconds,
    updated_at: Seconds,
    revision_number: u32,
}

fn version(subnet: &Subnet) -> u8 {
    if matches!(subnet.cidr, IpNet::V4(_)) { 4 } else { 6 }
}

impl Noun for Subnet {
    const ONE: &'static str = "subnet";
    const MANY: &'static str = "subnets";
    type View<'a> = View<'a>;
    fn uuid(&self) -> Uuid {
        self.id.0
    }
    fn tags(&self) -> &[String] {
        &self.attributes.tags
    }
    fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
    fn attr<'a>(&'a self, at: &At<'a>, name: &str) -> Option<Attr<'a>> {
        let a = &self.attributes;
        match name {
            "name" => Attr::text(&a.name),
            "description" => Attr::text(&a.description),
            "tenant_id" | "project_id" => Attr::shown(self.project),
            "network_id" => Attr::shown(self.network),
            "ip_version" => Some(Attr::Number(version(self).into())),
            "cidr" => Attr::shown(self.cidr),
            "enable_dhcp" => Some(Attr::Flag(a.enable_dhcp)),
            "gateway_ip" => Attr::maybe(a.gateway_ip),
            "ipv6_ra_mode" => Attr::maybe(self.ipv6_ra_mode.as_ref()),
            "ipv6_address_mode" => Attr::maybe(self.ipv6_address_mode.as_ref()),
            "subnetpool_id" => Some(Attr::Nothing),
            "service_types" => Some(Attr::Many(a.service_types.clone())),
            "dns_nameservers" => Some(Attr::Many(a.dns_nameservers.iter().map(|ip| ip.to_string()).collect())),
            "shared" => Some(Attr::Flag(at.cloud.networks.get(&self.network).is_some_and(|n| n.attributes.shared))),
            "created_at" => Attr::shown(self.created_at.seconds()),
            "updated_at" => Attr::shown(self.updated_at.seconds()),
            "revision_number" => Some(Attr::Number(self.revision.into())),
            _ => None,
        }
    }
    fn view<'a>(&'a self, _: &At<'a>) -> View<'a> {
        let a = &self.attributes;
        View {
            id: &self.id,
            name: &a.name,
            tenant_id: &self.project,
            project_id: &self.project,
            network_id: &self.network,
            ip_version: version(self),
            subnetpool_id: None,
            enable_dhcp: a.enable_dhcp,
            ipv6_ra_mode: self.ipv6_ra_mode.as_deref(),
            ipv6_address_mode: self.ipv6_address_mode.as_deref(),
            gateway_ip: a.gateway_ip,
            cidr: &self.cidr,
            allocation_pools: &a.allocation_pools,
            host_routes: &a.host_routes,
            dns_nameservers: &a.dns_nameservers,
            description: &a.description,
            service_types: &a.service_types,
            tags: &a.tags,
            created_at: Seconds(self.created_at),
            updated_at: Seconds(self.updated_at),
            revision_number: self.revision,
        }
    }
}
