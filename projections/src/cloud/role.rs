//! Roles. Invariants: a role's name is unique among global roles and in its domain; implications form no cycle.

use super::project::Given;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use strata_events::role::RoleEvent;
use strata_events::{DomainId, RoleId};
use uuid::Uuid;

/// A name for what one may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    /// None: global. A role of a domain never stands in a token; what it implies does.
    pub domain: Option<DomainId>,
    pub description: Option<String>,
    pub options: Map<String, Value>,
}

/// The live roles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roles {
    all: Table<RoleId, Role>,
    by_name: OrdMap<(Option<DomainId>, String), RoleId>,
    implied: OrdSet<(RoleId, RoleId)>,
}

impl std::ops::Deref for Roles {
    type Target = Table<RoleId, Role>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Roles {
    pub fn by_name(&self, domain: Option<DomainId>, name: &str) -> Option<&Arc<Role>> {
        self.by_name.get(&(domain, name.to_owned())).and_then(|id| self.all.get(id))
    }
    /// The global roles, or one domain's, by name.
    pub fn of_domain(&self, domain: Option<DomainId>) -> impl Iterator<Item = &Arc<Role>> {
        self.by_name.range((domain, String::new())..).take_while(move |((d, _), _)| *d == domain).filter_map(|(_, id)| self.all.get(id))
    }
    /// What a role implies directly.
    pub fn implied_by(&self, role: &RoleId) -> impl Iterator<Item = RoleId> + use<'_> {
        let role = *role;
        self.implied.range((role, RoleId(Uuid::nil()))..).take_while(move |(r, _)| *r == role).map(|(_, i)| *i)
    }
    pub fn implies(&self, role: &RoleId, implied: &RoleId) -> bool {
        self.implied.contains(&(*role, *implied))
    }
    /// Every (role, implied role).
    pub fn implications(&self) -> impl Iterator<Item = &(RoleId, RoleId)> {
        self.implied.iter()
    }
    /// These roles and all that they imply, near and far.
    pub fn closure(&self, roles: impl IntoIterator<Item = RoleId>) -> BTreeSet<RoleId> {
        let mut todo: Vec<RoleId> = roles.into_iter().collect();
        let mut all = BTreeSet::new();
        while let Some(role) = todo.pop() {
            if all.insert(role) {
                todo.extend(self.implied_by(&role));
            }
        }
        all
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &RoleEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let roles = &mut cloud.roles;
    match event {
        RoleEvent::RoleCreated { id, name, domain, description, options } => {
            if roles.by_name.insert((*domain, name.clone()), *id).is_some() {
                return Err(CannotApply::because(format!("a role is called {name:?} already")));
            }
            let role = Role { id: *id, name: name.clone(), domain: *domain, description: description.clone(), options: options.clone() };
            roles.all.add(*id, role)
        }
        RoleEvent::RoleUpdated { id, name, description, options } => {
            if let Some(name) = name {
                let old = roles.all.need(id)?;
                let domain = old.domain;
                roles.by_name.remove(&(domain, old.name.clone()));
                if roles.by_name.insert((domain, name.clone()), *id).is_some() {
                    return Err(CannotApply::because(format!("a role is called {name:?} already")));
                }
            }
            roles.all.change(id, |r| {
                name.clone_into_some(&mut r.name);
                description.clone_into_some(&mut r.description);
                options.clone_into_some(&mut r.options);
            })
        }
        RoleEvent::RoleImplied { id, implies } => {
            roles.all.need(id)?;
            roles.all.need(implies)?;
            if roles.closure([*implies]).contains(id) {
                return Err(CannotApply::because("the implication would go round in a circle"));
            }
            match roles.implied.insert((*id, *implies)) {
                None => Ok(()),
                Some(_) => Err(CannotApply::because("the implication exists already")),
            }
        }
        RoleEvent::RoleImplicationRemoved { id, implies } => match roles.implied.remove(&(*id, *implies)) {
            Some(_) => Ok(()),
            None => Err(CannotApply::because("there is no such implication")),
        },
        RoleEvent::RoleDeleted { id } => {
            let role = roles.all.remove(id)?;
            roles.by_name.remove(&(role.domain, role.name.clone()));
            roles.implied = roles.implied.iter().filter(|(a, b)| a != id && b != id).copied().collect();
            super::assignment::drop_role(cloud, *id);
            cloud.end_of_stream(RoleEvent::KIND, id.0);
            Ok(())
        }
    }
}
