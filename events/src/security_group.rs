//! What can happen to a security group and its rules.
use crate::{ProjectId, SecurityGroupId, SecurityGroupRuleId, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The direction of the traffic, seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Direction {
    Ingress,
    Egress,
}

/// The version of IP that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Ethertype {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

/// One thing that is allowed. What no rule allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    pub id: SecurityGroupRuleId,
    pub direction: Direction,
    pub ethertype: Ethertype,
    /// `tcp`, `udp`, `icmp`, … or a number, as the caller wrote it; none is any.
    pub protocol: Option<String>,
    /// First port, or the ICMP type.
    pub port_range_min: Option<u16>,
    /// Last port, or the ICMP code.
    pub port_range_max: Option<u16>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub remote_ip_prefix: Option<IpNet>,
    pub remote_group: Option<SecurityGroupId>,
    pub description: String,
    pub created_at: Timestamp,
}

aggregate! {
    /// Events of one security group.
    pub enum SecurityGroupEvent: "security_group" {
        /// A group came into being with its first rules. Each project has one named `default`.
        SecurityGroupCreated { id: SecurityGroupId, project: ProjectId, name: String, description: String, stateful: bool, rules: Vec<Rule>, tags: Vec<String> },
        /// Attributes were changed; those absent stayed.
        SecurityGroupUpdated { id: SecurityGroupId, name: Option<String>, description: Option<String>, stateful: Option<bool>, tags: Option<Vec<String>> },
        /// A rule was added.
        SecurityGroupRuleAdded { id: SecurityGroupId, rule: Rule },
        /// A rule was removed.
        SecurityGroupRuleRemoved { id: SecurityGroupId, rule: SecurityGroupRuleId },
        /// The group is gone.
        SecurityGroupDeleted { id: SecurityGroupId },
    }
}
