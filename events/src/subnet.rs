//! What can happen to a subnet: a range of addresses on a network.
use crate::{NetworkId, ProjectId, SubnetId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A range of addresses that ports are given, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pool {
    pub start: IpAddr,
    pub end: IpAddr,
}

/// A route that DHCP tells the guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostRoute {
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

/// What the owner may say about a subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubnetAttributes {
    pub name: String,
    pub description: String,
    pub gateway_ip: Option<IpAddr>,
    pub enable_dhcp: bool,
    pub allocation_pools: Vec<Pool>,
    pub dns_nameservers: Vec<IpAddr>,
    pub host_routes: Vec<HostRoute>,
    pub dns_publish_fixed_ip: bool,
    pub service_types: Vec<String>,
    pub tags: Vec<String>,
}

aggregate! {
    /// Events of one subnet.
    pub enum SubnetEvent: "subnet" {
        /// A subnet came into being.
        SubnetCreated { id: SubnetId, project: ProjectId, network: NetworkId,
            #[cfg_attr(feature = "schema", schemars(with = "String"))]
            cidr: IpNet,
            ipv6_address_mode: Option<String>, ipv6_ra_mode: Option<String>, attributes: SubnetAttributes },
        /// The attributes are these from now on.
        SubnetUpdated { id: SubnetId, attributes: SubnetAttributes },
        /// The subnet is gone.
        SubnetDeleted { id: SubnetId },
    }
}
