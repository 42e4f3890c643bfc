//! The service catalog that clients are told: regions, services, endpoints.
use crate::{EndpointId, RegionId, ServiceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Which entry of the catalog an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CatalogEntry {
    Region(RegionId),
    Service(ServiceId),
    Endpoint(EndpointId),
}
impl fmt::Display for CatalogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogEntry::Region(r) => write!(f, "region/{r}"),
            CatalogEntry::Service(s) => write!(f, "service/{s}"),
            CatalogEntry::Endpoint(e) => write!(f, "endpoint/{e}"),
        }
    }
}

/// Who an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Interface {
    Public,
    Internal,
    Admin,
}

aggregate! {
    /// Events of one catalog entry. The put events carry the whole entry, new or changed.
    pub enum CatalogEvent: "catalog" {
        /// A region was defined or redefined.
        RegionDefined { id: CatalogEntry, region: RegionId, parent: Option<RegionId>, description: String, extra: Map<String, Value> },
        /// A service was defined or redefined.
        ServiceDefined { id: CatalogEntry, service: ServiceId, kind: String, name: Option<String>, description: Option<String>, enabled: bool, extra: Map<String, Value> },
        /// An endpoint was defined or redefined. `url` may hold `$(project_id)s` and begin with `$(base)s`, which stands for
        /// the address by which the client reached the API.
        EndpointDefined { id: CatalogEntry, endpoint: EndpointId, service: ServiceId, interface: Interface, url: String, region: Option<RegionId>, enabled: bool, extra: Map<String, Value> },
        /// The entry is gone (a service with its endpoints).
        CatalogEntryRemoved { id: CatalogEntry },
    }
}
