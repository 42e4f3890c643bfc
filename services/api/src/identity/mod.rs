//! The identity API (Keystone v3). Source: identity api-ref v3; keystone/api/ for status codes and keystone/common/policies for
//! who may what.
//!
//! **Invariant: a token is worth what the state says at the moment of its use**, not what it said when it was issued.

mod access_rules;
mod application_credentials;
mod assignments;
mod auth;
mod common;
mod credentials;
mod domains;
mod ec2;
mod endpoints;
mod grants;
mod groups;
mod login;
pub mod password;
mod policies;
mod projects;
mod regions;
mod roles;
mod services;
mod tags;
pub mod token;
mod trusts;
mod users;
mod versions;

pub use access_rules::admits;

use crate::frame::app::{ApiConfig, StartError};
use crate::frame::{App, Caller, Fault, Routes};
use std::sync::Arc;
use strata_events::Timestamp;
use strata_projections::Cloud;
use strata_writer::Conductor;
use token::cache::{Cache, Entry};
use token::keys::Keyring;

/// What identity keeps beside the log: the keys that seal tokens, opened tokens, and the line before argon2.
pub struct Identity {
    pub keyring: Arc<Keyring>,
    pub passwords: password::Passwords,
    pub(crate) secrets: credentials::Sealer,
    cache: Cache,
}

impl Identity {
    pub async fn open(conductor: &Conductor, _config: &ApiConfig) -> Result<Self, StartError> {
        let failed = |why: String| StartError { what: "identity", why };
        let keyring = Arc::new(Keyring::open(conductor).await.map_err(|e| failed(e.to_string()))?);
        keyring.follow(conductor.clone());
        let secrets = credentials::Sealer::open(conductor).await.map_err(|e| failed(e.to_string()))?;
        Ok(Self { keyring, passwords: password::Passwords::start(), secrets, cache: Cache::default() })
    }

    /// An opened token and whom it stands for now; None when it is void.
    pub fn recognize(&self, cloud: &Cloud, now: Timestamp, text: &str) -> Option<(Arc<Entry>, Arc<Caller>)> {
        let entry = self.cache.get(text, || self.keyring.open_token(text))?;
        if now >= entry.token.expires_at {
            return None;
        }
        if let Some(caller) = entry.confirmed(cloud.position) {
            let credential = entry.token.application_credential.and_then(|id| cloud.application_credentials.get(&id));
            let lapsed = credential.and_then(|c| c.expires_at).is_some_and(|at| now >= at);
            let trust = entry.token.trust.and_then(|id| cloud.trusts.get(&id));
            let over = trust.and_then(|t| t.expires_at).is_some_and(|at| now >= at);
            return (!lapsed && !over).then_some((entry, caller));
        }
        let caller = Arc::new(token::confirm::confirm(cloud, now, &entry.token)?);
        entry.confirm(cloud.position, caller.clone());
        Some((entry, caller))
    }
}

/// Who a token is for, now.
pub fn authenticate(app: &App, cloud: &Cloud, now: Timestamp, token: &str) -> Result<Arc<Caller>, Fault> {
    app.identity.recognize(cloud, now, token).map(|(_, caller)| caller).ok_or_else(Fault::unauthorized)
}

pub fn routes(r: &mut Routes) {
    versions::routes(r);
    auth::routes(r);
    domains::routes(r);
    projects::routes(r);
    tags::routes(r);
    users::routes(r);
    groups::routes(r);
    roles::routes(r);
    assignments::routes(r);
    grants::routes(r);
    regions::routes(r);
    services::routes(r);
    endpoints::routes(r);
    application_credentials::routes(r);
    access_rules::routes(r);
    credentials::routes(r);
    policies::routes(r);
    ec2::routes(r);
    trusts::routes(r);
}
