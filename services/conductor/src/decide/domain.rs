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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::bootstrap::Bootstrap;
    use crate::decide::group::CreateGroup;
    use crate::decide::project::CreateProject;
    use crate::decide::role::CreateRole;
    use crate::decide::user::CreateUser;
    use crate::testing::{Given, given};
    use crate::{Class, Command};
    use strata_events::{GroupId, ProjectId, RoleId, Timestamp, UserId};
    use uuid::Uuid;

    const LAB: DomainId = DomainId(Uuid::from_u128(1));

    fn and(cloud: Cloud, command: impl Command) -> Cloud {
        Given { cloud, now: Timestamp(1) }.when(command).accepted()
    }
    fn create(enabled: bool) -> CreateDomain {
        CreateDomain { id: LAB.0, name: "lab".into(), enabled, ..Default::default() }
    }
    fn project(id: u128, parent: Option<u128>) -> CreateProject {
        CreateProject {
            id: ProjectId(Uuid::from_u128(id)),
            domain: LAB,
            parent: parent.map(|p| ProjectId(Uuid::from_u128(p))),
            name: id.to_string(),
            description: String::new(),
            enabled: true,
            tags: vec![],
            options: Map::new(),
            extra: Map::new(),
        }
    }
    fn cloud() -> Cloud {
        let seed = Uuid::from_u128(9);
        let first = Bootstrap { seed, region: "R".into(), admin_hash: String::new(), demo_hash: String::new() };
        and(given([]).when(first).accepted(), create(true))
    }

    #[test]
    fn an_enabled_domain_is_not_deleted() {
        Given { cloud: cloud(), now: Timestamp(1) }.when(DeleteDomain { id: LAB }).refused(Class::Forbidden, "disable it first");
    }

    #[test]
    fn the_default_domain_is_neither_disabled_nor_deleted() {
        let off = UpdateDomain {
            id: DomainId::DEFAULT,
            name: None,
            description: None,
            enabled: Some(false),
            tags: None,
            options: None,
            extra: Map::new(),
        };
        Given { cloud: cloud(), now: Timestamp(1) }.when(off).refused(Class::Forbidden, "default domain");
        Given { cloud: cloud(), now: Timestamp(1) }
            .when(DeleteDomain { id: DomainId::DEFAULT })
            .refused(Class::Forbidden, "default domain");
    }

    #[test]
    fn a_deleted_domain_takes_all_that_is_in_it_along_and_nothing_else() {
        let before = cloud();
        let mut after = before.clone();
        for (id, parent) in [(10, None), (11, Some(10)), (12, Some(11)), (13, Some(10))] {
            after = and(after, project(id, parent));
        }
        let user = CreateUser {
            id: UserId(Uuid::from_u128(20)),
            domain: LAB,
            name: "alice".into(),
            enabled: true,
            description: None,
            password_hash: None,
            default_project: None,
            options: Map::new(),
            extra: Map::new(),
        };
        after = and(after, user);
        after = and(after, CreateGroup { id: GroupId(Uuid::from_u128(21)), domain: LAB, name: "g".into(), description: String::new() });
        let role =
            CreateRole { id: RoleId(Uuid::from_u128(22)), name: "r".into(), domain: Some(LAB), description: None, options: Map::new() };
        after = and(after, role);
        let off =
            UpdateDomain { id: LAB, name: None, description: None, enabled: Some(false), tags: None, options: None, extra: Map::new() };
        after = and(and(after, off), DeleteDomain { id: LAB });
        assert_eq!(after.users, before.users);
        assert_eq!(after.projects, before.projects);
        assert_eq!(after.groups, before.groups);
        assert_eq!(after.roles, before.roles);
        assert!(!after.domains.contains(&LAB));
    }

    #[test]
    fn a_project_tree_has_a_bound() {
        let mut cloud = cloud();
        for (id, parent) in [(10, None), (11, Some(10)), (12, Some(11)), (13, Some(12))] {
            cloud = and(cloud, project(id, parent));
        }
        Given { cloud, now: Timestamp(1) }.when(project(14, Some(13))).refused(Class::Forbidden, "hierarchy depth");
    }
}
