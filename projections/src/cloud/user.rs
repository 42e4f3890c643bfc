//! Users. Invariants: a user's name is unique in its domain; of a password only the hash is known.

use super::project::{Given, merge};
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use strata_events::assignment::Assignee;
use strata_events::user::UserEvent;
use strata_events::{DomainId, ProjectId, Timestamp, UserId};

/// Who may log in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub domain: DomainId,
    pub name: String,
    pub enabled: bool,
    pub description: Option<String>,
    /// argon2id, in PHC string format.
    pub password_hash: Option<String>,
    pub password_expires_at: Option<Timestamp>,
    pub default_project: Option<ProjectId>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
    /// Tokens decided on before this position of the log are void: the password changed or the user was disabled then.
    pub tokens_from: u64,
}

impl std::fmt::Debug for User {
    /// Without the hash: what is printed ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("domain", &self.domain).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The live users.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Users {
    all: Table<UserId, User>,
    by_name: OrdMap<(DomainId, String), UserId>,
}

impl std::ops::Deref for Users {
    type Target = Table<UserId, User>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Users {
    pub fn by_name(&self, domain: &DomainId, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(&(*domain, name.to_owned())).and_then(|id| self.all.get(id))
    }
    /// Those of one domain, by name.
    pub fn of_domain(&self, domain: &DomainId) -> impl Iterator<Item = &Arc<User>> {
        self.by_name.range((*domain, String::new())..).take_while(move |((d, _), _)| d == domain).filter_map(|(_, id)| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &UserEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let users = &mut cloud.users;
    match event {
        UserEvent::UserCreated { id, domain, name, enabled, description, password_hash, default_project, options, extra } => {
            cloud.domains.need(domain)?;
            if users.by_name.insert((*domain, name.clone()), *id).is_some() {
                return Err(CannotApply::because(format!("a user of the domain is called {name:?} already")));
            }
            users.all.add(
                *id,
                User {
                    id: *id,
                    domain: *domain,
                    name: name.clone(),
                    enabled: *enabled,
                    description: description.clone(),
                    password_hash: password_hash.clone(),
                    password_expires_at: None,
                    default_project: *default_project,
                    options: options.clone(),
                    extra: extra.clone(),
                    tokens_from: 0,
                },
            )
        }
        UserEvent::UserUpdated { id, name, enabled, description, default_project, options, extra } => {
            if let Some(name) = name {
                let old = users.all.need(id)?;
                let domain = old.domain;
                users.by_name.remove(&(domain, old.name.clone()));
                if users.by_name.insert((domain, name.clone()), *id).is_some() {
                    return Err(CannotApply::because(format!("a user of the domain is called {name:?} already")));
                }
            }
            users.all.change(id, |u| {
                name.clone_into_some(&mut u.name);
                enabled.clone_into_some(&mut u.enabled);
                description.clone_into_some(&mut u.description);
                default_project.clone_into_some(&mut u.default_project);
                options.clone_into_some(&mut u.options);
                merge(&mut u.extra, extra);
                if *enabled == Some(false) {
                    u.tokens_from = stamp.position;
                }
            })
        }
        UserEvent::UserPasswordChanged { id, password_hash, expires_at } => users.all.change(id, |u| {
            u.password_hash = Some(password_hash.clone());
            u.password_expires_at = *expires_at;
            u.tokens_from = stamp.position;
        }),
        UserEvent::UserDeleted { id } => {
            let user = users.all.remove(id)?;
            users.by_name.remove(&(user.domain, user.name.clone()));
            super::group::drop_member(cloud, id);
            super::assignment::drop_assignee(cloud, Assignee::User(*id));
            cloud.end_of_stream(UserEvent::KIND, id.0);
            Ok(())
        }
    }
}
