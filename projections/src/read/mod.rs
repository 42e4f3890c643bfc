//! What people and dashboards ask in SQL: a row per live resource, in Postgres' schema `read`. Which rows change between two
//! states is found by comparing them, so a row can't be forgotten however far an event reaches; what two states share costs
//! nothing. schema/read/views.sql has a view for each kind.
//!
//! No secret, nor a hash of one, stands in a document (invariant 12).

mod document;

use crate::{Cloud, Table};
use document::{Document, Named};
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;

/// One live resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub kind: &'static str,
    pub id: String,
    pub project: Option<String>,
    pub name: Option<String>,
    pub status: Option<String>,
    pub document: Value,
}

/// A row that is new or another, or one that is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Put(Row),
    Gone { kind: &'static str, id: String },
}

/// Every kind of row; each has its view, named after it.
pub const KINDS: &[&str] = &[
    "access_rule",
    "application_credential",
    "assignment",
    "credential",
    "domain",
    "endpoint",
    "flavor",
    "group",
    "host",
    "image",
    "instance",
    "keypair",
    "network",
    "policy",
    "port",
    "project",
    "quota",
    "region",
    "role",
    "security_group",
    "server_group",
    "service",
    "subnet",
    "trust",
    "user",
];

type Changes<'a> = Box<dyn Iterator<Item = Change> + Send + 'a>;

/// The rows that differ between a state and a later one. From `Cloud::default()` on these are all rows.
pub fn changes<'a>(before: &'a Cloud, after: &'a Cloud) -> impl Iterator<Item = Change> + Send + 'a {
    let tables: [Changes<'a>; 25] = [
        of("domain", &before.domains, &after.domains),
        of("project", &before.projects, &after.projects),
        of("user", &before.users, &after.users),
        of("group", &before.groups, &after.groups),
        of("role", &before.roles, &after.roles),
        Box::new(before.assignments.changes(&after.assignments).map(|(grant, there)| match there {
            true => Change::Put(grant.row("assignment", document::grant_id(grant))),
            false => Change::Gone { kind: "assignment", id: document::grant_id(grant) },
        })),
        of("application_credential", &before.application_credentials, &after.application_credentials),
        of("trust", &before.trusts, &after.trusts),
        of("access_rule", &before.access_rules, &after.access_rules),
        of("credential", &before.credentials, &after.credentials),
        of("policy", &before.policies, &after.policies),
        of("region", &before.catalog.regions, &after.catalog.regions),
        of("service", &before.catalog.services, &after.catalog.services),
        of("endpoint", &before.catalog.endpoints, &after.catalog.endpoints),
        of("quota", before.quotas.table(), after.quotas.table()),
        of("image", &before.images, &after.images),
        of("flavor", &before.flavors, &after.flavors),
        of("keypair", before.keypairs.table(), after.keypairs.table()),
        of("server_group", &before.server_groups, &after.server_groups),
        of("instance", &before.instances, &after.instances),
        of("host", &before.hosts, &after.hosts),
        of("network", &before.networks, &after.networks),
        of("subnet", &before.subnets, &after.subnets),
        of("port", &before.ports, &after.ports),
        of("security_group", &before.security_groups, &after.security_groups),
    ];
    tables.into_iter().flatten()
}

fn of<'a, K, V>(kind: &'static str, before: &'a Table<K, V>, after: &'a Table<K, V>) -> Changes<'a>
where
    K: Ord + Clone + Debug + Named + Send + Sync,
    V: Clone + PartialEq + Document + Send + Sync,
{
    Box::new(before.changes(after).map(move |(id, value): (&K, Option<&Arc<V>>)| match value {
        Some(value) => Change::Put(value.row(kind, id.name())),
        None => Change::Gone { kind, id: id.name() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_events::domain::DomainEvent;
    use strata_events::keypair::{KeypairEvent, KeypairKind};
    use strata_events::user::UserEvent;
    use strata_events::{Actor, DomainId, Event, KeypairRef, Recorded, UserId};

    const ALICE: UserId = UserId(uuid::Uuid::max());

    fn after(cloud: &Cloud, event: impl Into<Event>) -> Cloud {
        let (mut cloud, event) = (cloud.clone(), event.into());
        let recorded = Recorded {
            position: cloud.position + 1,
            version: cloud.next_version(&event.stream()),
            recorded_at: Default::default(),
            actor: Actor::service("test"),
            request_id: String::new(),
            caused_by: None,
            event,
        };
        cloud.apply(&recorded).unwrap_or_else(|e| panic!("{e}"));
        cloud
    }
    fn imported(name: &str) -> KeypairEvent {
        KeypairEvent::KeypairImported {
            id: KeypairRef::new(&ALICE, name),
            user: ALICE,
            name: name.into(),
            kind: KeypairKind::Ssh,
            public_key: "ssh-ed25519 AAAA".into(),
            fingerprint: "00".into(),
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let one = after(&Cloud::default(), imported("a"));
        let two = after(&one, imported("b"));
        let told: Vec<Change> = changes(&one, &two).collect();
        assert!(matches!(&told[..], [Change::Put(row)] if row.kind == "keypair" && row.id == format!("{ALICE}/b")), "{told:?}");
        assert_eq!(changes(&Cloud::default(), &two).count(), 2);
        let gone = after(&two, KeypairEvent::KeypairDeleted { id: KeypairRef::new(&ALICE, "a"), user: ALICE, name: "a".into() });
        let told: Vec<Change> = changes(&two, &gone).collect();
        assert_eq!(told, [Change::Gone { kind: "keypair", id: format!("{ALICE}/a") }]);
        assert_eq!(changes(&gone, &gone).count(), 0);
    }

    #[test]
    fn no_hash_of_a_password_stands_in_a_document() {
        let made = UserEvent::UserCreated {
            id: ALICE,
            domain: DomainId::DEFAULT,
            name: "alice".into(),
            enabled: true,
            description: None,
            password_hash: Some("$argon2id$canary".into()),
            default_project: None,
            options: Default::default(),
            extra: Default::default(),
        };
        let domain = DomainEvent::DomainCreated {
            id: DomainId::DEFAULT,
            name: "Default".into(),
            description: String::new(),
            enabled: true,
            tags: vec![],
            options: Default::default(),
            extra: Default::default(),
        };
        let cloud = after(&after(&Cloud::default(), domain), made);
        let told: Vec<Change> = changes(&Cloud::default(), &cloud).collect();
        assert!(!told.is_empty() && !format!("{told:?}").contains("canary"), "{told:?}");
    }
}
