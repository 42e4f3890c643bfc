//! The service catalog. Invariants: an endpoint's service and region exist, a region's parent too.

use super::{CannotApply, Cloud, Stamp, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strata_events::catalog::{CatalogEntry, CatalogEvent, Interface};
use strata_events::{EndpointId, RegionId, ServiceId};

/// A part of the cloud with its own endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    pub id: RegionId,
    pub parent: Option<RegionId>,
    pub description: String,
    pub extra: Map<String, Value>,
}

/// An API that clients can ask for by type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub extra: Map<String, Value>,
}

/// Where a service answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub id: EndpointId,
    pub service: ServiceId,
    pub interface: Interface,
    pub url: String,
    pub region: Option<RegionId>,
    pub enabled: bool,
    pub extra: Map<String, Value>,
}

/// What clients are told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    pub regions: Table<RegionId, Region>,
    pub services: Table<ServiceId, Service>,
    pub endpoints: Table<EndpointId, Endpoint>,
}

pub(super) fn apply(cloud: &mut Cloud, event: &CatalogEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let catalog = &mut cloud.catalog;
    match event {
        CatalogEvent::RegionDefined { id: _, region, parent, description, extra } => {
            if let Some(parent) = parent {
                catalog.regions.need(parent)?;
            }
            let value = Region { id: region.clone(), parent: parent.clone(), description: description.clone(), extra: extra.clone() };
            catalog.regions.put(region.clone(), value);
        }
        CatalogEvent::ServiceDefined { id: _, service, kind, name, description, enabled, extra } => {
            let value = Service {
                id: *service,
                kind: kind.clone(),
                name: name.clone(),
                description: description.clone(),
                enabled: *enabled,
                extra: extra.clone(),
            };
            catalog.services.put(*service, value);
        }
        CatalogEvent::EndpointDefined { id: _, endpoint, service, interface, url, region, enabled, extra } => {
            catalog.services.need(service)?;
            if let Some(region) = region {
                catalog.regions.need(region)?;
            }
            let value = Endpoint {
                id: *endpoint,
                service: *service,
                interface: *interface,
                url: url.clone(),
                region: region.clone(),
                enabled: *enabled,
                extra: extra.clone(),
            };
            catalog.endpoints.put(*endpoint, value);
        }
        CatalogEvent::CatalogEntryRemoved { id } => match id {
            CatalogEntry::Region(region) => drop(catalog.regions.remove(region)?),
            CatalogEntry::Endpoint(endpoint) => drop(catalog.endpoints.remove(endpoint)?),
            CatalogEntry::Service(service) => {
                catalog.services.remove(service)?;
                let its: Vec<EndpointId> = catalog.endpoints.values().filter(|e| e.service == *service).map(|e| e.id).collect();
                for endpoint in its {
                    catalog.endpoints.remove(&endpoint)?;
                }
            }
        },
    }
    Ok(())
}
