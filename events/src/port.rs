//! What can happen to a port: the place where something is plugged into a network.
use crate::{HostName, NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A 48-bit Ethernet address, printed as `fa:16:3e:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);
impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl FromStr for MacAddress {
    type Err = crate::BadId;
    fn from_str(s: &str) -> Result<Self, crate::BadId> {
        let bad = || crate::BadId(s.into());
        let mut bytes = [0; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}
impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
#[cfg(feature = "schema")]
impl schemars::JsonSchema for MacAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}

/// An address that a port owns. At most one live port owns an address in a subnet (invariant 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FixedIp {
    pub subnet: SubnetId,
    pub ip: IpAddr,
}

/// An address, or a range of them, that a port may send from besides its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressPair {
    /// An address or a CIDR, as it was asked for.
    pub ip_address: String,
    pub mac_address: MacAddress,
}

/// Something more that DHCP tells this port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DhcpOption {
    pub opt_name: String,
    pub opt_value: String,
    pub ip_version: u8,
}

/// What may be said about a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortAttributes {
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    pub fixed_ips: Vec<FixedIp>,
    pub security_groups: Vec<SecurityGroupId>,
    pub port_security_enabled: bool,
    pub allowed_address_pairs: Vec<AddressPair>,
    pub extra_dhcp_opts: Vec<DhcpOption>,
    /// What uses it: an instance's id, a router's.
    pub device_id: String,
    /// `compute:nova`, `network:dhcp`, …
    pub device_owner: String,
    pub vnic_type: String,
    pub binding_profile: Map<String, Value>,
    /// The host that an admin or Nova asked for.
    pub binding_host: Option<HostName>,
    pub dns_name: String,
    pub tags: Vec<String>,
}

aggregate! {
    /// Events of one port.
    pub enum PortEvent: "port" {
        /// A port came into being, with its addresses.
        PortCreated { id: PortId, project: ProjectId, network: NetworkId, mac: MacAddress, attributes: PortAttributes },
        /// The attributes are these from now on.
        PortUpdated { id: PortId, attributes: PortAttributes },
        /// It has another MAC address now.
        PortMacChanged { id: PortId, mac: MacAddress },
        /// It shall exist on this host.
        PortBound { id: PortId, host: HostName },
        /// The host's network worker reports it there; what uses it may start.
        PortPlugged { id: PortId, host: HostName },
        /// The host could not make it, and says why.
        PortPlugFailed { id: PortId, host: HostName, reason: String },
        /// It shall exist on no host any more.
        PortUnbound { id: PortId, host: HostName },
        /// The host's network worker reports that nothing of it is left there. May follow PortDeleted.
        PortUnplugged { id: PortId, host: HostName },
        /// The port and its addresses are free.
        PortDeleted { id: PortId },
    }
}
