//! Networks over HTTP. Source: network api-ref, "Networks"; extensions external-net, net-mtu(-writable), port-security,
//! provider, availability zone, standard attributes.

use super::attrs::{Flag, Name, Number, Text};
use super::body::{Attribute, Default as D, Table, both, post, read};
use super::caller::denied;
use super::list::{At, Attr, Noun, list, many, one};
use super::time::Seconds;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use strata_conductor::Together;
use strata_conductor::decide::network::{CreateNetwork, DeleteNetwork, NetworkChanges, UpdateNetwork, WantedSegment};
use strata_events::network::{NetworkAttributes, Segment};
use strata_events::{NetworkId, ProjectId, SubnetId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::network::Network;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/networks", index, Rule::token("get_network"));
    r.post("/v2.0/networks", create, Rule::member("create_network"));
    r.get("/v2.0/networks/{id}", show, Rule::token("get_network"));
    r.put("/v2.0/networks/{id}", update, Rule::member("update_network"));
    r.delete("/v2.0/networks/{id}", delete, Rule::member("delete_network"));
}

const TABLE: Table = Table { one: "network", many: "networks", required: &[], attributes: ATTRIBUTES };
const ATTRIBUTES: &[Attribute] = &[
    both("name"),
    both("description"),
    both("admin_state_up"),
    both("shared").admin(D::False),
    both("router:external").admin(D::False),
    both("port_security_enabled"),
    both("mtu"),
    post("tenant_id"),
    post("project_id"),
    post("availability_zone_hints"),
    post("provider:network_type").admin(D::None),
    post("provider:physical_network").admin(D::None),
    post("provider:segmentation_id").admin(D::None),
    read("id"),
    read("status"),
    read("subnets"),
    read("tags"),
    read("availability_zones"),
    read("created_at"),
    read("updated_at"),
    read("revision_number"),
];

#[derive(Deserialize)]
struct Ask {
    name: Option<Name>,
    description: Option<Name>,
    admin_state_up: Option<Flag>,
    shared: Option<Flag>,
    #[serde(rename = "router:external")]
    external: Option<Flag>,
    port_security_enabled: Option<Flag>,
    mtu: Option<Number>,
    tenant_id: Option<Name>,
    project_id: Option<Name>,
    availability_zone_hints: Option<Vec<Name>>,
    #[serde(rename = "provider:network_type")]
    network_type: Option<Name>,
    #[serde(rename = "provider:physical_network")]
    physical_network: Option<Text<64>>,
    #[serde(rename = "provider:segmentation_id")]
    segmentation_id: Option<Number>,
}

impl Ask {
    fn mtu(&self) -> Result<Option<u16>, Fault> {
        let wrong = |n| Fault::bad_request(format!("Invalid input for mtu. Reason: '{n}' is not between 0 and 65535."));
        self.mtu.map(|Number(n)| u16::try_from(n).map_err(|_| wrong(n))).transpose()
    }
    fn segment(&self) -> Result<WantedSegment, Fault> {
        let invalid = |why: String| Fault::bad_request(format!("Invalid input for operation: {why}.")).with_kind("InvalidInput");
        let physical = || match &self.physical_network {
            Some(Text(name)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                Ok(name.clone())
            }
            Some(Text(name)) => Err(invalid(format!("'{name}' is not the name of a physical network"))),
            None => Err(invalid("provider:physical_network is required for this network type".into())),
        };
        // No host is told of physical networks yet: a network on one would be a name that carries nothing.
        let unknown = |name: String, of: &str| Err(invalid(format!("physical_network '{name}' unknown for {of} provider network")));
        let id = self.segmentation_id.map(|Number(n)| n);
        let out_of_range = |most: u32| invalid(format!("segmentation_id out of range (1 through {most})"));
        match self.network_type.as_ref().map(|n| n.0.as_str()) {
            None if self.physical_network.is_some() || id.is_some() => Err(invalid("network_type required".into())),
            None => Ok(WantedSegment::Vxlan(None)),
            Some("vxlan") if self.physical_network.is_some() => {
                Err(invalid("provider:physical_network specified for vxlan network".into()))
            }
            Some("vxlan") => {
                let vni = id.map(|n| u32::try_from(n).map_err(|_| out_of_range((1 << 24) - 1))).transpose()?;
                Ok(WantedSegment::Vxlan(vni))
            }
            Some("flat") if id.is_some() => Err(invalid("provider:segmentation_id specified for flat network".into())),
            Some("flat") => unknown(physical()?, "flat"),
            Some("vlan") => unknown(physical()?, "VLAN"),
            Some(other) => Err(invalid(format!("network_type value '{other}' not supported"))),
        }
    }
    fn command(self, ctx: &Ctx) -> Result<CreateNetwork, Fault> {
        Ok(CreateNetwork {
            id: NetworkId(crate::frame::new_uuid()),
            project: ctx.owner_of_new(self.tenant_id.as_ref(), self.project_id.as_ref())?,
            segment: self.segment()?,
            mtu: self.mtu()?,
            attributes: NetworkAttributes {
                name: self.name.unwrap_or_default().0,
                description: self.description.unwrap_or_default().0,
                admin_state_up: self.admin_state_up.is_none_or(|f| f.0),
                shared: self.shared.is_some_and(|f| f.0),
                external: self.external.is_some_and(|f| f.0),
                is_default: false,
                port_security_enabled: self.port_security_enabled.is_none_or(|f| f.0),
                mtu: 0,
                dns_domain: String::new(),
                availability_zone_hints: self.availability_zone_hints.unwrap_or_default().into_iter().map(|t| t.0).collect(),
                tags: vec![],
            },
        })
    }
}

async fn create(ctx: Ctx) -> Reply {
    let asked = TABLE.created::<Ask>(&ctx)?;
    let commands: Vec<CreateNetwork> = asked.items.into_iter().map(|ask| ask.command(&ctx)).collect::<Result<_, _>>()?;
    let ids: Vec<NetworkId> = commands.iter().map(|c| c.id).collect();
    let done = ctx.carry_out(Together(commands)).await?;
    let made: Vec<&Network> = ids.iter().filter_map(|id| done.cloud.networks.get(id)).map(|n| &**n).collect();
    if asked.bulk { many(&ctx, 201, &done.cloud, &made) } else { one(&ctx, 201, &done.cloud, made[0]) }
}

async fn index(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    let project = ctx.caller()?.project();
    let common = || cloud.networks.common().filter(|n| Some(n.project) != project);
    match &project {
        _ if ctx.is_admin() => list(&ctx, cloud, cloud.networks.values().map(|n| &**n)),
        Some(project) => list(&ctx, cloud, cloud.networks.of_project(project).chain(common()).map(|n| &**n)),
        None => list(&ctx, cloud, common().map(|n| &**n)),
    }
}

/// The network of the path, if the caller may know of it.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<Network>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Network {text} could not be found.")).with_kind("NetworkNotFound");
    let id: NetworkId = text.parse().map_err(|_| missing())?;
    let scope = ctx.network_scope();
    cloud.networks.get(&id).filter(|n| scope.sees(n)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &**find(&ctx, &ctx.cloud)?)
}

async fn update(ctx: Ctx) -> Reply {
    let network = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&network.project, "update_network")?;
    let ask: Ask = TABLE.changed(&ctx)?;
    let (id, mtu) = (network.id, ask.mtu()?);
    let changes = NetworkChanges {
        name: ask.name.map(|t| t.0),
        description: ask.description.map(|t| t.0),
        admin_state_up: ask.admin_state_up.map(|f| f.0),
        shared: ask.shared.map(|f| f.0),
        external: ask.external.map(|f| f.0),
        is_default: None,
        port_security_enabled: ask.port_security_enabled.map(|f| f.0),
        mtu,
        tags: None,
    };
    let done = ctx.carry_out(UpdateNetwork { id, changes, revision: ctx.wanted_revision()? }).await?;
    let network = done.cloud.networks.get(&id).ok_or_else(|| denied("update_network", &[]))?;
    one(&ctx, 200, &done.cloud, &**network)
}

async fn delete(ctx: Ctx) -> Reply {
    let network = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&network.project, "delete_network")?;
    ctx.carry_out(DeleteNetwork { id: network.id, revision: ctx.wanted_revision()? }).await?;
    Ok(Answer::no_content())
}

/// A network as the API shows it.
#[derive(Serialize)]
pub struct View<'a> {
    id: &'a NetworkId,
    name: &'a str,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    admin_state_up: bool,
    status: &'static str,
    mtu: u16,
    shared: bool,
    subnets: Vec<SubnetId>,
    availability_zone_hints: &'a [String],
    availability_zones: Vec<&'a str>,
    description: &'a str,
    port_security_enabled: bool,
    #[serde(rename = "router:external")]
    external: bool,
    tags: &'a [String],
    created_at: Seconds,
    updated_at: Seconds,
    revision_number: u32,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    provider: Option<Provider<'a>>,
}

#[derive(Serialize)]
struct Provider<'a> {
    #[serde(rename = "provider:network_type")]
    network_type: &'static str,
    #[serde(rename = "provider:physical_network")]
    physical_network: Option<&'a str>,
    #[serde(rename = "provider:segmentation_id")]
    segmentation_id: Option<u32>,
}

fn provider(segment: &Segment) -> Provider<'_> {
    let (network_type, physical_network, segmentation_id) = match segment {
        Segment::Vxlan { vni } => ("vxlan", None, Some(*vni)),
        Segment::Flat { physical_network } => ("flat", Some(physical_network.as_str()), None),
        Segment::Vlan { physical_network, vlan } => ("vlan", Some(physical_network.as_str()), Some(u32::from(*vlan))),
    };
    Provider { network_type, physical_network, segmentation_id }
}

impl Noun for Network {
    const ONE: &'static str = "network";
    const MANY: &'static str = "networks";
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
            "admin_state_up" => Some(Attr::Flag(a.admin_state_up)),
            "status" => Attr::text(status(self)),
            "mtu" => Some(Attr::Number(a.mtu.into())),
            "shared" => Some(Attr::Flag(a.shared)),
            "router:external" => Some(Attr::Flag(a.external)),
            "port_security_enabled" => Some(Attr::Flag(a.port_security_enabled)),
            "subnets" => Some(Attr::Many(at.cloud.subnets.on_network(&self.id).map(|s| s.id.to_string()).collect())),
            "created_at" => Attr::shown(self.created_at.seconds()),
            "updated_at" => Attr::shown(self.updated_at.seconds()),
            "revision_number" => Some(Attr::Number(self.revision.into())),
            "provider:network_type" if at.admin => Attr::text(provider(&self.segment).network_type),
            "provider:physical_network" if at.admin => Attr::maybe(provider(&self.segment).physical_network),
            "provider:segmentation_id" if at.admin => {
                Some(provider(&self.segment).segmentation_id.map_or(Attr::Nothing, |n| Attr::Number(n.into())))
            }
            _ => None,
        }
    }
    fn view<'a>(&'a self, at: &At<'a>) -> View<'a> {
        let a = &self.attributes;
        View {
            id: &self.id,
            name: &a.name,
            tenant_id: &self.project,
            project_id: &self.project,
            admin_state_up: a.admin_state_up,
            status: status(self),
            mtu: a.mtu,
            shared: a.shared,
            subnets: at.cloud.subnets.on_network(&self.id).map(|s| s.id).collect(),
            availability_zone_hints: &a.availability_zone_hints,
            availability_zones: zones(at.cloud, self),
            description: &a.description,
            port_security_enabled: a.port_security_enabled,
            external: a.external,
            tags: &a.tags,
            created_at: Seconds(self.created_at),
            updated_at: Seconds(self.updated_at),
            revision_number: self.revision,
            provider: at.admin.then(|| provider(&self.segment)),
        }
    }
}

fn status(network: &Network) -> &'static str {
    if network.attributes.admin_state_up { "ACTIVE" } else { "DOWN" }
}

/// The zones of the hosts on which the network exists: it is made where its ports are.
fn zones<'a>(cloud: &'a Cloud, network: &Network) -> Vec<&'a str> {
    let all: BTreeSet<&str> = cloud.hosts.values().map(|h| h.zone.as_str()).collect();
    let mut found = BTreeSet::new();
    for port in cloud.ports.on_network(&network.id) {
        if found.len() == all.len() {
            break;
        }
        let host = port.binding.as_ref().and_then(|b| cloud.hosts.get(&b.host));
        found.extend(host.map(|h| h.zone.as_str()));
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn segment(ask: Value) -> String {
        match serde_json::from_value::<Ask>(ask).unwrap().segment() {
            Ok(segment) => format!("{segment:?}"),
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn only_what_can_be_carried_is_made() {
        let of = |kind: &str| json!({"provider:network_type": kind, "provider:physical_network": "p"});
        assert_eq!(segment(json!({})), "Vxlan(None)");
        assert_eq!(segment(json!({"provider:network_type": "vxlan", "provider:segmentation_id": 7})), "Vxlan(Some(7))");
        let refused = |kind: &str, why: &str| {
            let said = segment(of(kind));
            assert!(said.contains(&format!("Invalid input for operation: {why}.")) && said.contains("400"), "{said}");
        };
        refused("vlan", "physical_network 'p' unknown for VLAN provider network");
        refused("flat", "physical_network 'p' unknown for flat provider network");
        refused("gre", "network_type value 'gre' not supported");
    }
}
