//! Flavors. Invariants: a flavor's id and its name are each unique among live flavors.

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strata_events::flavor::FlavorEvent;
use strata_events::{FlavorId, ProjectId, Timestamp};

/// A flavor as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flavor {
    pub id: FlavorId,
    pub name: String,
    pub description: Option<String>,
    pub vcpus: u32,
    /// MiB
    pub ram: u64,
    /// GiB
    pub disk: u64,
    /// GiB
    pub ephemeral: u64,
    /// MiB
    pub swap: u64,
    pub rxtx_factor: f64,
    pub is_public: bool,
    pub extra_specs: BTreeMap<String, String>,
    /// The projects that may use it when it is not public.
    pub access: OrdSet<ProjectId>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

impl Flavor {
    /// Whether a project may use it.
    pub fn open_to(&self, project: &ProjectId) -> bool {
        self.is_public || self.access.contains(project)
    }
}

/// The live flavors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flavors {
    all: Table<FlavorId, Flavor>,
}

impl std::ops::Deref for Flavors {
    type Target = Table<FlavorId, Flavor>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Flavors {
    pub fn by_name(&self, name: &str) -> Option<&Flavor> {
        self.all.values().find(|f| f.name == name).map(|f| &**f)
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &FlavorEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let flavors = &mut cloud.flavors.all;
    let mut edit = |id: &FlavorId, f: &mut dyn FnMut(&mut Flavor)| {
        flavors.change(id, |flavor| {
            f(flavor);
            flavor.updated_at = Some(stamp.at);
        })
    };
    match event {
        FlavorEvent::FlavorCreated { id, name, description, vcpus, ram, disk, ephemeral, swap, rxtx_factor, is_public, extra_specs } => {
            flavors.add(
                id.clone(),
                Flavor {
                    id: id.clone(),
                    name: name.clone(),
                    description: description.clone(),
                    vcpus: *vcpus,
                    ram: *ram,
                    disk: *disk,
                    ephemeral: *ephemeral,
                    swap: *swap,
                    rxtx_factor: *rxtx_factor,
                    is_public: *is_public,
                    extra_specs: extra_specs.clone(),
                    access: OrdSet::new(),
                    created_at: stamp.at,
                    updated_at: None,
                },
            )
        }
        FlavorEvent::FlavorDescribed { id, description } => edit(id, &mut |f| f.description = description.clone()),
        FlavorEvent::FlavorExtraSpecsSet { id, extra_specs } => edit(id, &mut |f| f.extra_specs.extend(extra_specs.clone())),
        FlavorEvent::FlavorExtraSpecRemoved { id, key } => edit(id, &mut |f| drop(f.extra_specs.remove(key))),
        FlavorEvent::FlavorAccessGranted { id, project } => edit(id, &mut |f| {
            f.access.insert(*project);
        }),
        FlavorEvent::FlavorAccessRevoked { id, project } => edit(id, &mut |f| {
            f.access.remove(project);
        }),
        FlavorEvent::FlavorDeleted { id } => flavors.remove(id).map(drop),
    }
}
