//! A port as the API shows it. Written to bytes without a JSON value in between: lists of a thousand ports are common.

use super::super::list::{At, Attr, Noun};
use super::super::time::Seconds;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::net::IpAddr;
use strata_events::port::{AddressPair, DhcpOption, FixedIp, MacAddress};
use strata_events::{NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId, Timestamp};
use strata_projections::cloud::port::{Binding, Plug, Port};
use uuid::Uuid;

#[derive(Serialize)]
pub struct View<'a> {
    id: &'a PortId,
    name: &'a str,
    network_id: &'a NetworkId,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    mac_address: &'a MacAddress,
    admin_state_up: bool,
    status: &'static str,
    device_id: &'a str,
    device_owner: &'a str,
    fixed_ips: Ips<'a>,
    allowed_address_pairs: &'a [AddressPair],
    extra_dhcp_opts: &'a [DhcpOption],
    security_groups: &'a [SecurityGroupId],
    description: &'a str,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: &'a str,
    #[serde(rename = "binding:profile", skip_serializing_if = "Option::is_none")]
    profile: Option<&'a Map<String, Value>>,
    #[serde(rename = "binding:host_id", skip_serializing_if = "Option::is_none")]
    host_id: Option<&'a str>,
    #[serde(rename = "binding:vif_type", skip_serializing_if = "Option::is_none")]
    vif_type: Option<&'static str>,
    #[serde(rename = "binding:vif_details", skip_serializing_if = "Option::is_none")]
    vif_details: Option<VifDetails>,
    port_security_enabled: bool,
    tags: &'a [String],
    created_at: Seconds,
    updated_at: Seconds,
    revision_number: u32,
}

struct Ips<'a>(&'a [FixedIp]);
impl Serialize for Ips<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Ip {
            subnet_id: SubnetId,
            ip_address: IpAddr,
        }
        s.collect_seq(self.0.iter().map(|f| Ip { subnet_id: f.subnet, ip_address: f.ip }))
    }
}

/// What the hosts' network workers do with a bound port: a bridge, with the security groups enforced there.
#[derive(Serialize)]
struct VifDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    port_filter: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connectivity: Option<&'static str>,
}

fn status(port: &Port) -> &'static str {
    if port.plugged() && port.attributes.admin_state_up { "ACTIVE" } else { "DOWN" }
}

fn host(port: &Port) -> &str {
    let bound = port.binding.as_ref().map(|b| b.host.0.as_str());
    bound.or(port.attributes.binding_host.as_ref().map(|h| h.0.as_str())).unwrap_or_default()
}

fn vif_type(port: &Port) -> &'static str {
    match (&port.binding, &port.attributes.binding_host) {
        (Some(Binding { plug: Plug::Failed(_), .. }), _) | (None, Some(_)) => "binding_failed",
        (Some(_), _) => "bridge",
        (None, None) => "unbound",
    }
}

impl Noun for Port {
    const ONE: &'static str = "port";
    const MANY: &'static str = "ports";
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
            "mac_address" => Attr::shown(self.mac),
            "admin_state_up" => Some(Attr::Flag(a.admin_state_up)),
            "status" => Attr::text(status(self)),
            "device_id" => Attr::text(&a.device_id),
            "device_owner" => Attr::text(&a.device_owner),
            "fixed_ips" => Some(Attr::Addresses(a.fixed_ips.iter().map(|f| (f.subnet.to_string(), f.ip.to_string())).collect())),
            "security_groups" => Some(Attr::Many(a.security_groups.iter().map(|g| g.to_string()).collect())),
            "port_security_enabled" => Some(Attr::Flag(a.port_security_enabled)),
            "binding:vnic_type" => Attr::text(&a.vnic_type),
            "binding:host_id" if at.admin => Attr::text(host(self)),
            "binding:vif_type" if at.admin => Attr::text(vif_type(self)),
            "created_at" => Attr::shown(self.created_at.seconds()),
            "updated_at" => Attr::shown(self.updated_at.seconds()),
            "revision_number" => Some(Attr::Number(self.revision.into())),
            _ => None,
        }
    }
    fn view<'a>(&'a self, at: &At<'a>) -> View<'a> {
        let a = &self.attributes;
        let bound = self.binding.is_some();
        View {
            id: &self.id,
            name: &a.name,
            network_id: &self.network,
            tenant_id: &self.project,
            project_id: &self.project,
            mac_address: &self.mac,
            admin_state_up: a.admin_state_up,
            status: status(self),
            device_id: &a.device_id,
            device_owner: &a.device_owner,
            fixed_ips: Ips(&a.fixed_ips),
            allowed_address_pairs: &a.allowed_address_pairs,
            extra_dhcp_opts: &a.extra_dhcp_opts,
            security_groups: &a.security_groups,
            description: &a.description,
            vnic_type: &a.vnic_type,
            profile: at.admin.then_some(&a.binding_profile),
            host_id: at.admin.then(|| host(self)),
            vif_type: at.admin.then(|| vif_type(self)),
            vif_details: at.admin.then(|| VifDetails { port_filter: bound.then_some(true), connectivity: bound.then_some("l2") }),
            port_security_enabled: a.port_security_enabled,
            tags: &a.tags,
            created_at: Seconds(self.created_at),
            updated_at: Seconds(self.updated_at),
            revision_number: self.revision,
        }
    }
}
