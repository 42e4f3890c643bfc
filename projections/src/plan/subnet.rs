//! What hosts need of a network's subnets: to answer DHCP on them and to tell a guest about them.

use crate::Cloud;
use crate::cloud::subnet::Subnet;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use strata_events::port::{FixedIp, MacAddress};
use strata_events::subnet::HostRoute;
use strata_events::{NetworkId, SubnetId};

/// A subnet, as far as hosts and guests are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSubnet {
    pub id: SubnetId,
    pub cidr: IpNet,
    pub gateway: Option<IpAddr>,
    pub enable_dhcp: bool,
    pub dns_nameservers: Vec<IpAddr>,
    pub host_routes: Vec<HostRoute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_ra_mode: Option<String>,
}

/// The network's distributed port: from where DHCP and metadata are served, with the same addresses on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDhcp {
    pub mac: MacAddress,
    pub fixed_ips: Vec<FixedIp>,
}

impl From<&Subnet> for PlannedSubnet {
    fn from(s: &Subnet) -> Self {
        let a = &s.attributes;
        Self {
            id: s.id,
            cidr: s.cidr,
            gateway: a.gateway_ip,
            enable_dhcp: a.enable_dhcp,
            dns_nameservers: a.dns_nameservers.clone(),
            host_routes: a.host_routes.clone(),
            ipv6_address_mode: s.ipv6_address_mode.clone(),
            ipv6_ra_mode: s.ipv6_ra_mode.clone(),
        }
    }
}

/// The subnets of a network, oldest first.
pub(super) fn of_network(cloud: &Cloud, network: &NetworkId) -> Vec<PlannedSubnet> {
    cloud.subnets.on_network(network).map(|s| PlannedSubnet::from(&**s)).collect()
}

/// The subnets in which something with these addresses is, oldest first.
pub(super) fn of_addresses(cloud: &Cloud, network: &NetworkId, ips: &[FixedIp]) -> Vec<PlannedSubnet> {
    cloud.subnets.on_network(network).filter(|s| ips.iter().any(|f| f.subnet == s.id)).map(|s| PlannedSubnet::from(&**s)).collect()
}

pub(super) fn dhcp(cloud: &Cloud, network: &NetworkId) -> Option<PlannedDhcp> {
    cloud.ports.distributed(network).map(|p| PlannedDhcp { mac: p.mac, fixed_ips: p.attributes.fixed_ips.clone() })
}
