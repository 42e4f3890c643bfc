//! What may be asked of the service catalog.

use super::identity::{duplicate, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::RegionId;
use strata_events::catalog::{CatalogEntry, CatalogEvent};
use strata_projections::Cloud;
use strata_projections::cloud::catalog::{Endpoint, Region, Service};

/// Defines a region; `new`: it must not exist yet, else it must.
#[derive(Debug, Clone)]
pub struct DefineRegion {
    pub new: bool,
    pub region: Region,
}

impl Command for DefineRegion {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Region { id, parent, description, extra } = &self.region;
        match (self.new, cloud.catalog.regions.contains(id)) {
            (true, true) => return Err(duplicate("region", format_args!("Duplicate entry found with ID {id}"))),
            (false, false) => return Err(not_found("region", id)),
            _ => {}
        }
        if let Some(parent) = parent {
            if !cloud.catalog.regions.contains(parent) {
                return Err(not_found("region", parent));
            }
            if above(cloud, parent).any(|r| r == *id) {
                return Err(Refusal::invalid(format!("Region {id} can't be below itself: choose another parent_region_id.")));
            }
        }
        Ok(events![CatalogEvent::RegionDefined {
            id: CatalogEntry::Region(id.clone()),
            region: id.clone(),
            parent: parent.clone(),
            description: description.clone(),
            extra: extra.clone(),
        }])
    }
}

/// A region and those above it.
fn above(cloud: &Cloud, region: &RegionId) -> impl Iterator<Item = RegionId> {
    std::iter::successors(Some(region.clone()), |r| cloud.catalog.regions.get(r).and_then(|r| r.parent.clone()))
}

/// Defines a service; `new` as above.
#[derive(Debug, Clone)]
pub struct DefineService {
    pub new: bool,
    pub service: Service,
}

impl Command for DefineService {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Service { id, kind, name, description, enabled, extra } = &self.service;
        if !self.new && !cloud.catalog.services.contains(id) {
            return Err(not_found("service", id));
        }
        Ok(events![CatalogEvent::ServiceDefined {
            id: CatalogEntry::Service(*id),
            service: *id,
            kind: kind.clone(),
            name: name.clone(),
            description: description.clone(),
            enabled: *enabled,
            extra: extra.clone(),
        }])
    }
}

/// Defines an endpoint; `new` as above.
#[derive(Debug, Clone)]
pub struct DefineEndpoint {
    pub new: bool,
    pub endpoint: Endpoint,
}

impl Command for DefineEndpoint {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Endpoint { id, service, interface, url, region, enabled, extra } = &self.endpoint;
        if !self.new && !cloud.catalog.endpoints.contains(id) {
            return Err(not_found("endpoint", id));
        }
        if !cloud.catalog.services.contains(service) {
            return Err(not_found("service", service).with_class(crate::Class::Invalid));
        }
        if let Some(region) = region
            && !cloud.catalog.regions.contains(region)
        {
            return Err(not_found("region", region).with_class(crate::Class::Invalid));
        }
        Ok(events![CatalogEvent::EndpointDefined {
            id: CatalogEntry::Endpoint(*id),
            endpoint: *id,
            service: *service,
            interface: *interface,
            url: url.clone(),
            region: region.clone(),
            enabled: *enabled,
            extra: extra.clone(),
        }])
    }
}

/// Takes an entry out.
#[derive(Debug, Clone)]
pub struct RemoveCatalogEntry(pub CatalogEntry);

impl Command for RemoveCatalogEntry {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let catalog = &cloud.catalog;
        let missing = match &self.0 {
            CatalogEntry::Region(r) if !catalog.regions.contains(r) => Some(not_found("region", r)),
            CatalogEntry::Service(s) if !catalog.services.contains(s) => Some(not_found("service", s)),
            CatalogEntry::Endpoint(e) if !catalog.endpoints.contains(e) => Some(not_found("endpoint", e)),
            _ => None,
        };
        if let Some(refusal) = missing {
            return Err(refusal);
        }
        if let CatalogEntry::Region(region) = &self.0 {
            let used = catalog.endpoints.values().any(|e| e.region.as_ref() == Some(region));
            if used || catalog.regions.values().any(|r| r.parent.as_ref() == Some(region)) {
                return Err(Refusal::forbidden(format!(
                    "Unable to delete region {region} because it or its child regions have associated endpoints."
                )));
            }
        }
        Ok(events![CatalogEvent::CatalogEntryRemoved { id: self.0.clone() }])
    }
}
