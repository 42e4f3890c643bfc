//! Projects. Invariants: a project's name is unique in its domain; a parent is of the same domain, and outlives its children.

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use strata_events::assignment::Target;
use strata_events::project::ProjectEvent;
use strata_events::{DomainId, ProjectId};
use uuid::Uuid;

/// The owner of resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub domain: DomainId,
    pub parent: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
    /// Tokens decided on before this position of the log are void: the project was disabled then.
    pub tokens_from: u64,
}

/// The live projects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Projects {
    all: Table<ProjectId, Project>,
    by_name: OrdMap<(DomainId, String), ProjectId>,
    by_parent: OrdSet<(ProjectId, ProjectId)>,
}

impl std::ops::Deref for Projects {
    type Target = Table<ProjectId, Project>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Projects {
    pub fn by_name(&self, domain: &DomainId, name: &str) -> Option<&Arc<Project>> {
        self.by_name.get(&(*domain, name.to_owned())).and_then(|id| self.all.get(id))
    }
    /// Those of one domain, by name.
    pub fn of_domain(&self, domain: &DomainId) -> impl Iterator<Item = &Arc<Project>> {
        self.by_name.range((*domain, String::new())..).take_while(move |((d, _), _)| d == domain).filter_map(|(_, id)| self.all.get(id))
    }
    /// Those directly below a project.
    pub fn children(&self, parent: &ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        self.by_parent
            .range((*parent, ProjectId(Uuid::nil()))..)
            .take_while(move |(p, _)| p == parent)
            .filter_map(|(_, id)| self.all.get(id))
    }
    /// The projects above one, the nearest first.
    pub fn ancestors(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        let first = self.all.get(project).and_then(|p| p.parent).and_then(|id| self.all.get(&id));
        std::iter::successors(first, |p| p.parent.and_then(|id| self.all.get(&id)))
    }
    /// Everything below a project, parents before their children.
    pub fn subtree(&self, project: &ProjectId) -> Vec<Arc<Project>> {
        let mut found: Vec<Arc<Project>> = self.children(project).cloned().collect();
        let mut next = 0;
        while let Some(id) = found.get(next).map(|p| p.id) {
            found.extend(self.children(&id).cloned());
            next += 1;
        }
        found
    }
}

/// Overwrites what an update names.
pub(super) trait Given<T> {
    fn clone_into_some(&self, field: &mut T);
}
impl<T: Clone> Given<T> for Option<T> {
    fn clone_into_some(&self, field: &mut T) {
        if let Some(value) = self {
            field.clone_from(value);
        }
    }
}

/// Merges attributes that are kept as given; null removes one.
pub(super) fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        if value.is_null() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &ProjectEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let projects = &mut cloud.projects;
    match event {
        ProjectEvent::ProjectCreated { id, domain, parent, name, description, enabled, tags, options, extra } => {
            cloud.domains.need(domain)?;
            if let Some(parent) = parent {
                projects.all.need(parent)?;
                projects.by_parent.insert((*parent, *id));
            }
            if projects.by_name.insert((*domain, name.clone()), *id).is_some() {
                return Err(CannotApply::because(format!("a project of the domain is called {name:?} already")));
            }
            projects.all.add(
                *id,
                Project {
                    id: *id,
                    domain: *domain,
                    parent: *parent,
                    name: name.clone(),
                    description: description.clone(),
                    enabled: *enabled,
                    tags: tags.clone(),
                    options: options.clone(),
                    extra: extra.clone(),
                    tokens_from: 0,
                },
            )
        }
        ProjectEvent::ProjectUpdated { id, name, description, enabled, tags, options, extra } => {
            if let Some(name) = name {
                let old = projects.all.need(id)?;
                let domain = old.domain;
                projects.by_name.remove(&(domain, old.name.clone()));
                if projects.by_name.insert((domain, name.clone()), *id).is_some() {
                    return Err(CannotApply::because(format!("a project of the domain is called {name:?} already")));
                }
            }
            projects.all.change(id, |p| {
                name.clone_into_some(&mut p.name);
                description.clone_into_some(&mut p.description);
                enabled.clone_into_some(&mut p.enabled);
                tags.clone_into_some(&mut p.tags);
                options.clone_into_some(&mut p.options);
                merge(&mut p.extra, extra);
                if *enabled == Some(false) {
                    p.tokens_from = stamp.position;
                }
            })
        }
        ProjectEvent::ProjectDeleted { id } => {
            if projects.children(id).next().is_some() {
                return Err(CannotApply::because("the project has projects below it"));
            }
            let project = projects.all.remove(id)?;
            projects.by_name.remove(&(project.domain, project.name.clone()));
            if let Some(parent) = project.parent {
                projects.by_parent.remove(&(parent, *id));
            }
            super::assignment::drop_target(cloud, Target::Project(*id));
            cloud.end_of_stream(ProjectEvent::KIND, id.0);
            Ok(())
        }
    }
}
