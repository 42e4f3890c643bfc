//! What may be asked of a project. The rule of its tree: an enabled project stands below enabled ones, a project is deleted
//! after those below it, and all are of one domain.

use super::identity::{duplicate, immutable, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use serde_json::{Map, Value};
use strata_events::application_credential::ApplicationCredentialEvent;
use strata_events::project::ProjectEvent;
use strata_events::trust::TrustEvent;
use strata_events::{DomainId, Event, ProjectId};
use strata_projections::Cloud;

/// Levels of projects below a domain (Keystone's max_project_tree_depth, the domain counted).
const DEPTH: usize = 5;

/// Makes an owner of resources.
#[derive(Debug, Clone)]
pub struct CreateProject {
    pub id: ProjectId,
    pub domain: DomainId,
    pub parent: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
}

impl Command for CreateProject {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let domain = cloud.domains.get(&self.domain).ok_or_else(|| not_found("domain", self.domain))?;
        if let Some(parent) = &self.parent {
            let above = cloud.projects.get(parent).ok_or_else(|| not_found("project", parent))?;
            if above.domain != self.domain {
                return Err(Refusal::invalid("Cannot create project, the parent is in a different domain than the one that was given."));
            }
            if let Some(off) = std::iter::once(above).chain(cloud.projects.ancestors(parent)).find(|p| !p.enabled) {
                return Err(Refusal::invalid(format!("Cannot create project in a branch containing a disabled project: {}.", off.id)));
            }
            if cloud.projects.ancestors(parent).count() + 2 >= DEPTH {
                return Err(Refusal::forbidden(format!("Max hierarchy depth reached for {parent} branch.")));
            }
        } else if !domain.enabled {
            return Err(Refusal::invalid(format!("Cannot create project in a branch containing a disabled project: {}.", self.domain)));
        }
        if cloud.projects.contains(&self.id) || cloud.projects.by_name(&self.domain, &self.name).is_some() {
            return Err(taken(&self.domain, &self.name));
        }
        Ok(events![ProjectEvent::ProjectCreated {
            id: self.id,
            domain: self.domain,
            parent: self.parent,
            name: self.name.clone(),
            description: self.description.clone(),
            enabled: self.enabled,
            tags: self.tags.clone(),
            options: self.options.clone(),
            extra: self.extra.clone(),
        }])
    }
}

fn taken(domain: &DomainId, name: &str) -> Refusal {
    duplicate(
        "project",
        format_args!(
            "it is not permitted to have two projects with the same name in the same domain: project name {name}, domain {domain}"
        ),
    )
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdateProject {
    pub id: ProjectId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub tags: Option<Vec<String>>,
    pub options: Option<Map<String, Value>>,
    pub extra: Map<String, Value>,
}

impl Command for UpdateProject {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let project = cloud.projects.get(&self.id).ok_or_else(|| not_found("project", self.id))?;
        immutable("project", self.id, &project.options, self.options.as_ref())?;
        let name = self.name.clone().filter(|n| *n != project.name);
        if let Some(name) = &name
            && cloud.projects.by_name(&project.domain, name).is_some()
        {
            return Err(taken(&project.domain, name));
        }
        let enabled = self.enabled.filter(|e| *e != project.enabled);
        if enabled == Some(true) && cloud.projects.ancestors(&self.id).any(|p| !p.enabled) {
            return Err(Refusal::forbidden(format!("Cannot enable project {} since it has disabled parents.", self.id)));
        }
        if enabled == Some(false) && cloud.projects.subtree(&self.id).iter().any(|p| p.enabled) {
            return Err(Refusal::forbidden(format!("Cannot disable project {} since its subtree contains enabled projects.", self.id)));
        }
        Ok(events![ProjectEvent::ProjectUpdated {
            id: self.id,
            name,
            description: self.description.clone(),
            enabled,
            tags: self.tags.clone(),
            options: self.options.clone(),
            extra: self.extra.clone(),
        }])
    }
}

/// Deletes a project that has none below it, with the application credentials for it.
#[derive(Debug, Clone)]
pub struct DeleteProject {
    pub id: ProjectId,
}

impl Command for DeleteProject {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let project = cloud.projects.get(&self.id).ok_or_else(|| not_found("project", self.id))?;
        immutable("project", self.id, &project.options, None)?;
        if cloud.projects.children(&self.id).next().is_some() {
            return Err(Refusal::forbidden(format!(
                "Cannot delete the project {} since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree.",
                self.id
            )));
        }
        let mut events = leavings(cloud, &self.id);
        events.extend(events![ProjectEvent::ProjectDeleted { id: self.id }]);
        Ok(events)
    }
}

/// What can't outlive a project.
pub(super) fn leavings(cloud: &Cloud, project: &ProjectId) -> Vec<Event> {
    let keys = cloud.application_credentials.values().filter(|c| c.project == *project);
    let mut events: Vec<Event> = keys.map(|c| ApplicationCredentialEvent::ApplicationCredentialDeleted { id: c.id }.into()).collect();
    let trusts = cloud.trusts.values().filter(|t| t.project == *project);
    events.extend(trusts.map(|t| TrustEvent::TrustDeleted { id: t.id }.into()));
    events
}
