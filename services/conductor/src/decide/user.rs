//! What may be asked of a user. Passwords come here as argon2id hashes, made and checked at the rim.

use super::identity::{duplicate, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use serde_json::{Map, Value};
use strata_events::access_rule::AccessRuleEvent;
use strata_events::application_credential::ApplicationCredentialEvent;
use strata_events::credential::CredentialEvent;
use strata_events::keypair::KeypairEvent;
use strata_events::trust::TrustEvent;
use strata_events::user::UserEvent;
use strata_events::{DomainId, Event, KeypairRef, ProjectId, UserId};
use strata_projections::Cloud;

/// Makes someone who may log in.
#[derive(Clone)]
pub struct CreateUser {
    pub id: UserId,
    pub domain: DomainId,
    pub name: String,
    pub enabled: bool,
    pub description: Option<String>,
    pub password_hash: Option<String>,
    pub default_project: Option<ProjectId>,
    pub options: Map<String, Value>,
    pub extra: Map<String, Value>,
}

impl Command for CreateUser {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.domains.contains(&self.domain) {
            return Err(not_found("domain", self.domain));
        }
        if cloud.users.contains(&self.id) || cloud.users.by_name(&self.domain, &self.name).is_some() {
            return Err(taken(&self.domain, &self.name));
        }
        Ok(events![UserEvent::UserCreated {
            id: self.id,
            domain: self.domain,
            name: self.name.clone(),
            enabled: self.enabled,
            description: self.description.clone(),
            password_hash: self.password_hash.clone(),
            default_project: self.default_project,
            options: self.options.clone(),
            extra: self.extra.clone(),
        }])
    }
}

fn taken(domain: &DomainId, name: &str) -> Refusal {
    duplicate("user", format_args!("Duplicate entry found with name {name} at domain ID {domain}"))
}

/// Changes what is named; a password given here was set by an admin.
#[derive(Clone)]
pub struct UpdateUser {
    pub id: UserId,
    pub name: Option<String>,
    pub enabled: Option<bool>,
    pub description: Option<Option<String>>,
    pub default_project: Option<Option<ProjectId>>,
    pub options: Option<Map<String, Value>>,
    pub extra: Map<String, Value>,
    pub password_hash: Option<String>,
}

impl Command for UpdateUser {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let user = cloud.users.get(&self.id).ok_or_else(|| not_found("user", self.id))?;
        let name = self.name.clone().filter(|n| *n != user.name);
        if let Some(name) = &name
            && cloud.users.by_name(&user.domain, name).is_some()
        {
            return Err(taken(&user.domain, name));
        }
        let mut events: Vec<Event> = vec![];
        let attributes = name.is_some()
            || self.enabled.is_some()
            || self.description.is_some()
            || self.default_project.is_some()
            || self.options.is_some()
            || !self.extra.is_empty();
        if attributes {
            events.extend(events![UserEvent::UserUpdated {
                id: self.id,
                name,
                enabled: self.enabled,
                description: self.description.clone(),
                default_project: self.default_project,
                options: self.options.clone(),
                extra: self.extra.clone(),
            }]);
        }
        if let Some(hash) = &self.password_hash {
            events.extend(events![UserEvent::UserPasswordChanged { id: self.id, password_hash: hash.clone(), expires_at: None }]);
        }
        Ok(events)
    }
}

/// Sets a new password for a user who proved to know the old one, whose hash is named: if it is another by now, the proof is
/// void.
#[derive(Clone)]
pub struct ChangePassword {
    pub id: UserId,
    pub old_hash: String,
    pub new_hash: String,
}

impl Command for ChangePassword {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let user = cloud.users.get(&self.id).ok_or_else(|| not_found("user", self.id))?;
        if user.options.get("lock_password") == Some(&Value::Bool(true)) {
            return Err(Refusal::invalid("Password change is not allowed: the option lock_password is set for this user."));
        }
        if user.password_hash.as_deref() != Some(&self.old_hash) {
            return Err(Refusal::conflict("The password was changed by someone else at the same moment; log in and try again."));
        }
        Ok(events![UserEvent::UserPasswordChanged { id: self.id, password_hash: self.new_hash.clone(), expires_at: None }])
    }
}

/// Deletes a user with all that only it could use.
#[derive(Debug, Clone)]
pub struct DeleteUser {
    pub id: UserId,
}

impl Command for DeleteUser {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.users.contains(&self.id) {
            return Err(not_found("user", self.id));
        }
        let mut events = leavings(cloud, &self.id);
        events.extend(events![UserEvent::UserDeleted { id: self.id }]);
        Ok(events)
    }
}

/// What can't outlive a user.
pub(super) fn leavings(cloud: &Cloud, user: &UserId) -> Vec<Event> {
    let mut events: Vec<Event> = vec![];
    let keys = cloud.application_credentials.of(user);
    events.extend(keys.map(|c| ApplicationCredentialEvent::ApplicationCredentialDeleted { id: c.id }.into()));
    events.extend(cloud.access_rules.of(user).map(|r| AccessRuleEvent::AccessRuleDeleted { id: r.id }.into()));
    events.extend(cloud.credentials.of(user).map(|c| CredentialEvent::CredentialDeleted { id: c.id.clone() }.into()));
    let trusts = cloud.trusts.values().filter(|t| t.trustor == *user || t.trustee == *user);
    events.extend(trusts.map(|t| TrustEvent::TrustDeleted { id: t.id }.into()));
    let keypairs = cloud.keypairs.of(user);
    events.extend(
        keypairs.map(|k| KeypairEvent::KeypairDeleted { id: KeypairRef::new(user, &k.name), user: *user, name: k.name.clone() }.into()),
    );
    events
}

macro_rules! debug_without_hashes {
    ($($name:ident),*) => { $(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("id", &self.id).finish_non_exhaustive()
            }
        }
    )* };
}
debug_without_hashes!(CreateUser, UpdateUser, ChangePassword);
