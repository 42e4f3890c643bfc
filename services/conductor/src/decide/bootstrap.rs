//! The cloud's first facts, without which nobody could log in: the default domain, the usual roles, an admin and a demo
//! project with their users, the catalog, and some flavors. Asked again it adds what is missing and changes nothing else.

use crate::{Command, Context, Decision, events};
use serde_json::Map;
use std::collections::BTreeMap;
use strata_events::assignment::{Assignee, AssignmentEvent, Target};
use strata_events::catalog::{CatalogEntry, CatalogEvent, Interface};
use strata_events::domain::DomainEvent;
use strata_events::flavor::FlavorEvent;
use strata_events::project::ProjectEvent;
use strata_events::role::RoleEvent;
use strata_events::user::UserEvent;
use strata_events::{DomainId, EndpointId, Event, FlavorId, ProjectId, RegionId, RoleId, ServiceId, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::assignment::Grant;
use uuid::Uuid;

/// Lays the foundation of a cloud.
#[derive(Clone)]
pub struct Bootstrap {
    /// Random; the ids of all that is made here are derived from it.
    pub seed: Uuid,
    pub region: String,
    /// argon2id of the passwords of the users admin and demo; used only when the user is made now.
    pub admin_hash: String,
    pub demo_hash: String,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap").field("region", &self.region).finish_non_exhaustive()
    }
}

const ROLES: [&str; 5] = ["admin", "manager", "member", "reader", "service"];
const IMPLIED: [(&str, &str); 3] = [("admin", "manager"), ("manager", "member"), ("member", "reader")];

/// type, name, description, path below the base
const SERVICES: [(&str, &str, &str, &str); 4] = [
    ("identity", "keystone", "Identity", "/identity"),
    ("compute", "nova", "Compute", "/compute/v2.1"),
    ("image", "glance", "Image", "/image"),
    ("network", "neutron", "Networking", "/network"),
];

/// name, vcpus, MiB, GiB
const FLAVORS: [(&str, &str, u32, u64, u64); 7] = [
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
    ("42", "m1.nano", 1, 192, 1),
    ("84", "m1.micro", 1, 256, 1),
];

impl Bootstrap {
    /// An id for what is made under this name: the name's FNV-1a hash over the seed.
    fn id(&self, name: &str) -> Uuid {
        let hash = name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        });
        uuid::Builder::from_random_bytes((self.seed.as_u128() ^ hash).to_be_bytes()).into_uuid()
    }

    fn roles(&self, cloud: &Cloud, events: &mut Vec<Event>) -> BTreeMap<&'static str, RoleId> {
        let mut ids = BTreeMap::new();
        for name in ROLES {
            let id = cloud.roles.by_name(None, name).map(|r| r.id);
            let id = id.unwrap_or_else(|| {
                let id = RoleId(self.id(&format!("role/{name}")));
                let created = RoleEvent::RoleCreated { id, name: name.into(), domain: None, description: None, options: Map::new() };
                events.push(created.into());
                id
            });
            ids.insert(name, id);
        }
        for (role, implied) in IMPLIED {
            let (id, implies) = (ids[role], ids[implied]);
            // Only when one of them is new: an implication that an admin removed stays removed.
            let new = |role: &RoleId| !cloud.roles.contains(role);
            if (new(&id) || new(&implies)) && !cloud.roles.implies(&id, &implies) {
                events.push(RoleEvent::RoleImplied { id, implies }.into());
            }
        }
        ids
    }

    fn project(&self, cloud: &Cloud, events: &mut Vec<Event>, name: &str, description: &str) -> ProjectId {
        if let Some(project) = cloud.projects.by_name(&DomainId::DEFAULT, name) {
            return project.id;
        }
        let id = ProjectId(self.id(&format!("project/{name}")));
        let created = ProjectEvent::ProjectCreated {
            id,
            domain: DomainId::DEFAULT,
            parent: None,
            name: name.into(),
            description: description.into(),
            enabled: true,
            tags: vec![],
            options: Map::new(),
            extra: Map::new(),
        };
        events.push(created.into());
        id
    }

    fn user(&self, cloud: &Cloud, events: &mut Vec<Event>, name: &str, hash: &str, grants: &[(RoleId, Target)]) {
        if cloud.users.by_name(&DomainId::DEFAULT, name).is_some() && name != "admin" {
            return;
        }
        let id = cloud.users.by_name(&DomainId::DEFAULT, name).map(|u| u.id).unwrap_or_else(|| {
            let id = UserId(self.id(&format!("user/{name}")));
            let created = UserEvent::UserCreated {
                id,
                domain: DomainId::DEFAULT,
                name: name.into(),
                enabled: true,
                description: None,
                password_hash: Some(hash.into()),
                default_project: None,
                options: Map::new(),
                extra: Map::new(),
            };
            events.push(created.into());
            id
        });
        for (role, target) in grants {
            let grant = Grant { assignee: Assignee::User(id), target: *target, inherited: false, role: *role };
            if !cloud.assignments.contains(&grant) {
                events.push(AssignmentEvent::RoleGranted { id: grant.assignee, role: *role, target: *target, inherited: false }.into());
            }
        }
    }

    fn catalog(&self, cloud: &Cloud, events: &mut Vec<Event>) {
        let region = RegionId(self.region.clone());
        if !cloud.catalog.regions.contains(&region) {
            let id = CatalogEntry::Region(region.clone());
            let defined =
                CatalogEvent::RegionDefined { id, region: region.clone(), parent: None, description: String::new(), extra: Map::new() };
            events.push(defined.into());
        }
        for (kind, name, description, path) in SERVICES {
            if cloud.catalog.services.values().any(|s| s.kind == kind) {
                continue;
            }
            let service = ServiceId(self.id(&format!("service/{kind}")));
            let defined = CatalogEvent::ServiceDefined {
                id: CatalogEntry::Service(service),
                service,
                kind: kind.into(),
                name: Some(name.into()),
                description: Some(description.into()),
                enabled: true,
                extra: Map::new(),
            };
            events.push(defined.into());
            for (interface, text) in [(Interface::Public, "public"), (Interface::Internal, "internal"), (Interface::Admin, "admin")] {
                let endpoint = EndpointId(self.id(&format!("endpoint/{kind}/{text}")));
                let defined = CatalogEvent::EndpointDefined {
                    id: CatalogEntry::Endpoint(endpoint),
                    endpoint,
                    service,
                    interface,
                    url: format!("$(base)s{path}"),
                    region: Some(region.clone()),
                    enabled: true,
                    extra: Map::new(),
                };
                events.push(defined.into());
            }
        }
    }

    fn flavors(&self, cloud: &Cloud, events: &mut Vec<Event>) {
        // A flavor that an admin deleted stays deleted: they are made only on an empty table.
        if !cloud.flavors.is_empty() {
            return;
        }
        for (id, name, vcpus, ram, disk) in FLAVORS {
            let created = FlavorEvent::FlavorCreated {
                id: FlavorId(id.into()),
                name: name.into(),
                description: None,
                vcpus,
                ram,
                disk,
                ephemeral: 0,
                swap: 0,
                rxtx_factor: 1.0,
                is_public: true,
                extra_specs: BTreeMap::new(),
            };
            events.push(created.into());
        }
    }
}

impl Command for Bootstrap {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let mut events: Vec<Event> = vec![];
        if !cloud.domains.contains(&DomainId::DEFAULT) {
            events.extend(events![DomainEvent::DomainCreated {
                id: DomainId::DEFAULT,
                name: "Default".into(),
                description: "The default domain".into(),
                enabled: true,
                tags: vec![],
                options: Map::new(),
                extra: Map::new(),
            }]);
        }
        let roles = self.roles(cloud, &mut events);
        let first = !cloud.users.iter().any(|_| true);
        let admin = self.project(cloud, &mut events, "admin", "The cloud's administrators");
        let everywhere = [Target::Project(admin), Target::Domain(DomainId::DEFAULT), Target::System].map(|t| (roles["admin"], t));
        self.user(cloud, &mut events, "admin", &self.admin_hash, &everywhere);
        if first {
            self.project(cloud, &mut events, "service", "The cloud's own services");
            let demo = self.project(cloud, &mut events, "demo", "A project to try things in");
            self.user(cloud, &mut events, "demo", &self.demo_hash, &[(roles["member"], Target::Project(demo))]);
        }
        self.catalog(cloud, &mut events);
        self.flavors(cloud, &mut events);
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;

    fn ask(seed: u128) -> Bootstrap {
        Bootstrap { seed: Uuid::from_u128(seed), region: "RegionOne".into(), admin_hash: "a".into(), demo_hash: "d".into() }
    }

    #[test]
    fn afterwards_admin_is_admin_everywhere_and_implies_the_rest() {
        let cloud = given([]).when(ask(1)).accepted();
        let admin = cloud.users.by_name(&DomainId::DEFAULT, "admin").map(|u| u.id).unwrap_or_else(|| panic!("no admin"));
        let names = cloud.effective_role_names(&admin, &Target::System);
        let mut names: Vec<&str> = names.iter().map(|(_, n)| n.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["admin", "manager", "member", "reader"]);
        assert_eq!(cloud.catalog.endpoints.len(), 12);
        assert_eq!(cloud.flavors.len(), 7);
    }

    #[test]
    fn a_second_time_it_changes_nothing() {
        let cloud = given([]).when(ask(1)).accepted();
        let again = crate::testing::Given { cloud, now: strata_events::Timestamp(9) };
        again.when(ask(2)).then([]);
    }
}
