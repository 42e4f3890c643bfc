//! What may be asked of a domain. The rule: a domain is disabled before it is deleted, and takes everything in it along.

use super::identity::{duplicate, immutable, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use serde_json::{Map, Value};
use strata_events::domain::DomainEvent;
use strata_events::group::GroupEvent;
use strata_events::project::ProjectEvent;
use strata_events::role::RoleEvent;
use strata_events::{DomainId, Event};
use strata_projections::Cloud;

/// Makes a container of projects, users and groups.
#[derive(Debug, Clone, Default)]
pub struct CreateDomain {
    pub id: uuid::Uuid,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
}

impl Command for CreateDomain {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let id = DomainId(self.id);
        if cloud.domains.contains(&id) || cloud.domains.by_name(&self.name).is_some() {
            return Err(duplicate(
                "domain",
                format_args!("it is not permitted to have two projects acting as domains with the same name: {}", self.name),
            ));
        }
        Ok(events![DomainEvent::DomainCreated {
            id,
            name: self.name.clone(),
            description: self.description.clone(),
            enabled: self.enabled,
            tags: self.tags.clone(),
            options: self.options.clone(),
            extra: self.extra.clone(),
        }])
    }
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdateDomain {
    pub id: DomainId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub tags: Option<Vec<String>>,
    pub options: Option<Map<String, Value>>,
    pub extra: Map<String, Value>,
}

impl Command for UpdateDomain {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let domain = cloud.domains.get(&self.id).ok_or_else(|| not_found("domain", self.id))?;
        immutable("domain", self.id, &domain.options, self.options.as_ref())?;
        let name = self.name.clone().filter(|n| *n != domain.name);
        if let Some(name) = &name
            && cloud.domains.by_name(name).is_some()
        {
            return Err(duplicate(
                "domain",
                format_args!("it is not permitted to have two projects acting as domains with the same name: {name}"),
            ));
        }
        if self.id == DomainId::DEFAULT && self.enabled == Some(false) {
            return Err(Refusal::forbidden("The default domain can't be disabled: the cloud's own users are in it."));
        }
        Ok(events![DomainEvent::DomainUpdated {
            id: self.id,
            name,
            description: self.description.clone(),
            enabled: self.enabled,
            tags: self.tags.clone(),
            options: self.options.clone(),
            extra: self.extra.clone(),
        }])
    }
}

/// Deletes a disabled domain with its users, groups, projects and roles.
#[derive(Debug, Clone)]
pub struct DeleteDomain {
    pub id: DomainId,
}

impl Command for DeleteDomain {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let domain = cloud.domains.get(&self.id).ok_or_else(|| not_found("domain", self.id))?;
        if self.id == DomainId::DEFAULT {
            return Err(Refusal::forbidden("Cannot delete the default domain."));
        }
        immutable("domain", self.id, &domain.options, None)?;
        if domain.enabled {
            return Err(Refusal::forbidden("Cannot delete a domain that is enabled, please disable it first."));
        }
        let mut events: Vec<Event> = vec![];
        for project in cloud.projects.of_domain(&self.id) {
            events.extend(super::project::leavings(cloud, &project.id));
        }
        for user in cloud.users.of_domain(&self.id) {
            // What a user leaves in this domain's projects went with the projects.
            for event in super::user::leavings(cloud, &user.id) {
                if !events.contains(&event) {
                    events.push(event);
                }
            }
            events.extend(events![strata_events::user::UserEvent::UserDeleted { id: user.id }]);
        }
        events.extend(cloud.groups.of_domain(&self.id).map(|g| GroupEvent::GroupDeleted { id: g.id }.into()));
        let tops: Vec<_> = cloud.projects.of_domain(&self.id).filter(|p| p.parent.is_none()).map(|p| p.id).collect();
        for top in tops {
            let below = cloud.projects.subtree(&top);
            events.extend(below.iter().rev().map(|p| ProjectEvent::ProjectDeleted { id: p.id }.into()));
            events.extend(events![ProjectEvent::ProjectDeleted { id: top }]);
        }
        events.extend(cloud.roles.of_domain(Some(self.id)).map(|r| RoleEvent::RoleDeleted { id: r.id }.into()));
        events.extend(events![DomainEvent::DomainDeleted { id: self.id }]);
        Ok(events)
    }
}
