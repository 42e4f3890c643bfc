//! Availability zones, and how many addresses of each network are used (extensions availability_zone,
//! network_availability_zone and network-ip-availability).

use super::list::{At, Attr, Noun, list, one};
use super::networks;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strata_events::{NetworkId, ProjectId, SubnetId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::addresses::number;
use strata_projections::cloud::network::Network;
use strata_projections::cloud::subnet::Subnet;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/availability_zones", zones, Rule::token("get_availability_zone"));
    r.get("/v2.0/network-ip-availabilities", index, Rule::token("get_network_ip_availability"));
    r.get("/v2.0/network-ip-availabilities/{id}", show, Rule::token("get_network_ip_availability"));
}

/// A zone is available when one of its hosts is.
async fn zones(ctx: Ctx) -> Reply {
    let mut zones: BTreeMap<&str, bool> = BTreeMap::new();
    for host in ctx.cloud.hosts.values() {
        *zones.entry(&host.zone).or_default() |= host.up;
    }
    let wanted = |key: &str, value: &str| !ctx.query.has(key) || ctx.query.all(key).any(|v| v == value);
    let view = |(name, up): (&str, bool)| -> Option<Value> {
        let state = if up { "available" } else { "unavailable" };
        let fine = wanted("name", name) && wanted("state", state) && wanted("resource", "network");
        fine.then(|| json!({"name": name, "resource": "network", "state": state}))
    };
    let zones: Vec<Value> = zones.into_iter().filter_map(view).collect();
    Ok(Answer::ok(&json!({ "availability_zones": zones })))
}

/// A network, seen for its addresses.
struct Availability<'a>(&'a Network);

async fn index(ctx: Ctx) -> Reply {
    // Only admins are shown any; Neutron filters what is listed, it doesn't refuse.
    let networks = ctx.is_admin().then(|| ctx.cloud.networks.values());
    let all: Vec<Availability<'_>> = networks.into_iter().flatten().map(|n| Availability(n)).collect();
    list(&ctx, &ctx.cloud, all.iter())
}

async fn show(ctx: Ctx) -> Reply {
    let network = networks::find(&ctx, &ctx.cloud)?;
    if !ctx.is_admin() {
        return Err(Fault::not_found("The resource could not be found."));
    }
    one(&ctx, 200, &ctx.cloud, &Availability(network))
}

#[derive(Serialize)]
struct View<'a> {
    network_id: &'a NetworkId,
    network_name: &'a str,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    total_ips: u128,
    used_ips: u128,
    subnet_ip_availability: Vec<SubnetView<'a>>,
}

#[derive(Serialize)]
struct SubnetView<'a> {
    subnet_id: &'a SubnetId,
    subnet_name: &'a str,
    cidr: &'a IpNet,
    ip_version: u8,
    total_ips: u128,
    used_ips: u128,
}

fn of_subnet<'a>(cloud: &Cloud, subnet: &'a Subnet) -> SubnetView<'a> {
    let pools = subnet.attributes.allocation_pools.iter();
    SubnetView {
        subnet_id: &subnet.id,
        subnet_name: &subnet.attributes.name,
        cidr: &subnet.cidr,
        ip_version: if matches!(subnet.cidr, IpNet::V4(_)) { 4 } else { 6 },
        total_ips: pools.map(|p| number(p.end) - number(p.start) + 1).fold(0, u128::saturating_add),
        used_ips: cloud.ports.addresses_in(&subnet.id).count() as u128,
    }
}

impl Noun for Availability<'_> {
    const ONE: &'static str = "network_ip_availability";
    const MANY: &'static str = "network_ip_availabilities";
    type View<'a>
        = View<'a>
    where
        Self: 'a;
    fn uuid(&self) -> Uuid {
        self.0.id.0
    }
    fn tags(&self) -> &[String] {
        &[]
    }
    fn updated_at(&self) -> Timestamp {
        self.0.updated_at
    }
    fn attr<'a>(&'a self, at: &At<'a>, name: &str) -> Option<Attr<'a>> {
        match name {
            "network_id" => Attr::shown(self.0.id),
            "network_name" => Attr::text(&self.0.attributes.name),
            "tenant_id" | "project_id" => Attr::shown(self.0.project),
            "ip_version" => {
                let versions = at.cloud.subnets.on_network(&self.0.id).map(|s| if s.cidr.addr().is_ipv4() { "4" } else { "6" });
                Some(Attr::Many(versions.map(str::to_owned).collect()))
            }
            _ => None,
        }
    }
    fn view<'a>(&'a self, at: &At<'a>) -> View<'a> {
        let subnets: Vec<SubnetView<'a>> = at.cloud.subnets.on_network(&self.0.id).map(|s| of_subnet(at.cloud, s)).collect();
        View {
            network_id: &self.0.id,
            network_name: &self.0.attributes.name,
            tenant_id: &self.0.project,
            project_id: &self.0.project,
            total_ips: subnets.iter().map(|s| s.total_ips).fold(0, u128::saturating_add),
            used_ips: subnets.iter().map(|s| s.used_ips).sum(),
            subnet_ip_availability: subnets,
        }
    }
}
