//! What may be asked of a flavor. Servers keep a copy of theirs, so a flavor may go at any time.

use crate::{Command, Context, Decision, Refusal, events};
use std::collections::BTreeMap;
use std::sync::Arc;
use strata_events::flavor::FlavorEvent;
use strata_events::{FlavorId, ProjectId};
use strata_projections::Cloud;
use strata_projections::cloud::flavor::Flavor;

/// Makes a flavor; id and name must both be free.
#[derive(Debug, Clone)]
pub struct CreateFlavor {
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
}

impl Command for CreateFlavor {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if cloud.flavors.contains(&self.id) {
            return Err(Refusal::conflict(format!("Flavor with ID {} already exists.", self.id)));
        }
        if cloud.flavors.by_name(&self.name).is_some() {
            return Err(Refusal::conflict(format!("Flavor with name {} already exists.", self.name)));
        }
        Ok(events![FlavorEvent::FlavorCreated {
            id: self.id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            vcpus: self.vcpus,
            ram: self.ram,
            disk: self.disk,
            ephemeral: self.ephemeral,
            swap: self.swap,
            rxtx_factor: self.rxtx_factor,
            is_public: self.is_public,
            extra_specs: BTreeMap::new(),
        }])
    }
}

/// Changes the description.
#[derive(Debug, Clone)]
pub struct DescribeFlavor {
    pub id: FlavorId,
    pub description: Option<String>,
}

impl Command for DescribeFlavor {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if find(cloud, &self.id)?.description == self.description {
            return Ok(vec![]);
        }
        Ok(events![FlavorEvent::FlavorDescribed { id: self.id.clone(), description: self.description.clone() }])
    }
}

/// Sets extra specs; those absent stay.
#[derive(Debug, Clone)]
pub struct SetExtraSpecs {
    pub id: FlavorId,
    pub extra_specs: BTreeMap<String, String>,
    /// Refuse a key that the flavor has not.
    pub must_exist: bool,
}

impl Command for SetExtraSpecs {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let flavor = find(cloud, &self.id)?;
        if let Some(key) = self.extra_specs.keys().find(|k| self.must_exist && !flavor.extra_specs.contains_key(*k)) {
            return Err(no_such_spec(&self.id, key));
        }
        if self.extra_specs.iter().all(|(k, v)| flavor.extra_specs.get(k) == Some(v)) {
            return Ok(vec![]);
        }
        Ok(events![FlavorEvent::FlavorExtraSpecsSet { id: self.id.clone(), extra_specs: self.extra_specs.clone() }])
    }
}

/// Takes an extra spec away.
#[derive(Debug, Clone)]
pub struct RemoveExtraSpec {
    pub id: FlavorId,
    pub key: String,
}

impl Command for RemoveExtraSpec {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !find(cloud, &self.id)?.extra_specs.contains_key(&self.key) {
            return Err(no_such_spec(&self.id, &self.key));
        }
        Ok(events![FlavorEvent::FlavorExtraSpecRemoved { id: self.id.clone(), key: self.key.clone() }])
    }
}

/// Lets a project use a flavor that is not public.
#[derive(Debug, Clone)]
pub struct GrantFlavor {
    pub id: FlavorId,
    pub project: ProjectId,
}

impl Command for GrantFlavor {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let flavor = find(cloud, &self.id)?;
        if flavor.is_public {
            return Err(Refusal::conflict("Can not add access to a public flavor."));
        }
        if flavor.access.contains(&self.project) {
            let (id, project) = (&self.id, &self.project);
            return Err(Refusal::conflict(format!("Flavor access already exists for flavor {id} and project {project} combination.")));
        }
        Ok(events![FlavorEvent::FlavorAccessGranted { id: self.id.clone(), project: self.project }])
    }
}

/// Takes that back.
#[derive(Debug, Clone)]
pub struct RevokeFlavor {
    pub id: FlavorId,
    pub project: ProjectId,
}

impl Command for RevokeFlavor {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let flavor = find(cloud, &self.id)?;
        if !flavor.access.contains(&self.project) {
            return Err(Refusal::new(
                crate::Class::NotFound,
                "FlavorAccessNotFound",
                format!("Flavor access not found for {} / {} combination.", self.id, self.project),
            ));
        }
        Ok(events![FlavorEvent::FlavorAccessRevoked { id: self.id.clone(), project: self.project }])
    }
}

/// Deletes a flavor.
#[derive(Debug, Clone)]
pub struct DeleteFlavor {
    pub id: FlavorId,
}

impl Command for DeleteFlavor {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        find(cloud, &self.id)?;
        Ok(events![FlavorEvent::FlavorDeleted { id: self.id.clone() }])
    }
}

fn find<'a>(cloud: &'a Cloud, id: &FlavorId) -> Result<&'a Arc<Flavor>, Refusal> {
    cloud.flavors.get(id).ok_or_else(|| Refusal::not_found("Flavor", id))
}

fn no_such_spec(id: &FlavorId, key: &str) -> Refusal {
    Refusal::new(crate::Class::NotFound, "FlavorExtraSpecsNotFound", format!("Flavor {id} has no extra specs with key {key}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, given};
    use crate::{Class, Context};
    use strata_events::{Actor, Event};

    const PROJECT: ProjectId = ProjectId(uuid::Uuid::max());

    fn ask(id: &str, name: &str) -> CreateFlavor {
        CreateFlavor {
            id: id.into(),
            name: name.into(),
            description: None,
            vcpus: 1,
            ram: 512,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            rxtx_factor: 1.0,
            is_public: true,
        }
    }
    fn created(id: &str, name: &str) -> Vec<Event> {
        let ctx = Context { now: Default::default(), actor: Actor::service("test"), request_id: String::new(), caused_by: None };
        ask(id, name).decide(&Cloud::default(), &ctx).unwrap_or_else(|r| panic!("{r}"))
    }

    #[test]
    fn id_and_name_are_each_unique() {
        given(created("1", "m1.tiny")).when(ask("1", "other")).refused(Class::Conflict, "with ID 1 already exists");
        given(created("1", "m1.tiny")).when(ask("2", "m1.tiny")).refused(Class::Conflict, "with name m1.tiny already exists");
    }

    #[test]
    fn a_private_flavor_is_open_to_whom_it_is_given() {
        let cloud = given([]).when(CreateFlavor { is_public: false, ..ask("1", "secret") }).accepted();
        assert!(!cloud.flavors.get(&"1".into()).is_some_and(|f| f.open_to(&PROJECT)));
        let cloud = Given { cloud, now: Default::default() }.when(GrantFlavor { id: "1".into(), project: PROJECT }).accepted();
        assert!(cloud.flavors.get(&"1".into()).is_some_and(|f| f.open_to(&PROJECT)));
        let again = || Given { cloud: cloud.clone(), now: Default::default() };
        again().when(GrantFlavor { id: "1".into(), project: PROJECT }).refused(Class::Conflict, "already exists");
        again().when(RevokeFlavor { id: "1".into(), project: PROJECT }).accepted();
    }

    #[test]
    fn a_public_flavor_has_no_access_list() {
        given(created("1", "m1.tiny"))
            .when(GrantFlavor { id: "1".into(), project: PROJECT })
            .refused(Class::Conflict, "Can not add access to a public flavor");
    }

    #[test]
    fn a_missing_extra_spec_is_told_by_its_key() {
        given(created("1", "m1.tiny"))
            .when(RemoveExtraSpec { id: "1".into(), key: "hw:numa".into() })
            .refused(Class::NotFound, "has no extra specs with key hw:numa");
    }
}
