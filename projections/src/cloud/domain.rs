//! Domains. Invariant: a domain's name is unique.

use super::project::{Given, merge};
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use strata_events::DomainId;
use strata_events::domain::DomainEvent;

/// A container of projects, users and groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    pub id: DomainId,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
    /// Tokens decided on before this position of the log are void: the domain was disabled then.
    pub tokens_from: u64,
}

/// The live domains.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Domains {
    all: Table<DomainId, Domain>,
    by_name: OrdMap<String, DomainId>,
}

impl std::ops::Deref for Domains {
    type Target = Table<DomainId, Domain>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Domains {
    pub fn by_name(&self, name: &str) -> Option<&Arc<Domain>> {
        self.by_name.get(name).and_then(|id| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &DomainEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let domains = &mut cloud.domains;
    match event {
        DomainEvent::DomainCreated { id, name, description, enabled, tags, options, extra } => {
            if domains.by_name.insert(name.clone(), *id).is_some() {
                return Err(CannotApply::because(format!("a domain is called {name:?} already")));
            }
            domains.all.add(
                *id,
                Domain {
                    id: *id,
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
        DomainEvent::DomainUpdated { id, name, description, enabled, tags, options, extra } => {
            if let Some(name) = name {
                let old = domains.all.need(id)?.name.clone();
                domains.by_name.remove(&old);
                if domains.by_name.insert(name.clone(), *id).is_some() {
                    return Err(CannotApply::because(format!("a domain is called {name:?} already")));
                }
            }
            domains.all.change(id, |d| {
                name.clone_into_some(&mut d.name);
                description.clone_into_some(&mut d.description);
                enabled.clone_into_some(&mut d.enabled);
                tags.clone_into_some(&mut d.tags);
                options.clone_into_some(&mut d.options);
                merge(&mut d.extra, extra);
                if *enabled == Some(false) {
                    d.tokens_from = stamp.position;
                }
            })
        }
        DomainEvent::DomainDeleted { id } => {
            let domain = domains.all.remove(id)?;
            domains.by_name.remove(&domain.name);
            super::assignment::drop_target(cloud, strata_events::assignment::Target::Domain(*id));
            if *id != DomainId::DEFAULT {
                cloud.end_of_stream(DomainEvent::KIND, id.0);
            }
            Ok(())
        }
    }
}
