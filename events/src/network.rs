//! What can happen to a network: a layer-2 segment of a project.
use crate::{NetworkId, ProjectId};
use serde::{Deserialize, Serialize};

/// How a network is carried between hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Segment {
    /// A VXLAN with this VNI, 1 to 16777215. Unique among live networks.
    Vxlan { vni: u32 },
    /// An untagged physical network.
    Flat { physical_network: String },
    /// A tagged physical network.
    Vlan { physical_network: String, vlan: u16 },
}

/// What the owner may say about a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkAttributes {
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    /// Every project may use it.
    pub shared: bool,
    /// `router:external`
    pub external: bool,
    pub is_default: bool,
    pub port_security_enabled: bool,
    /// bytes
    pub mtu: u16,
    pub dns_domain: String,
    pub availability_zone_hints: Vec<String>,
    pub tags: Vec<String>,
}

aggregate! {
    /// Events of one network.
    pub enum NetworkEvent: "network" {
        /// A network came into being.
        NetworkCreated { id: NetworkId, project: ProjectId, segment: Segment, attributes: NetworkAttributes },
        /// The attributes are these from now on.
        NetworkUpdated { id: NetworkId, attributes: NetworkAttributes },
        /// The network is gone, with its subnets.
        NetworkDeleted { id: NetworkId },
    }
}
