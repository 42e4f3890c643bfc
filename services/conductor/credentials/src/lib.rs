//! Who may do what on NATS: an operator that the server trusts, one account in which the cloud lives, and a signed permit
//! (user JWT) for the control plane and for each host. The server holds no list of users: what the account's key signed
//! is what it admits.
//!
//! **Invariant: a host's permit names nothing but its own subjects.** It can read its own plan and report as itself. The
//! private half of a host's key never leaves the host: a permit is made for the public half.

mod jwt;
pub mod proof;
mod store;

pub use store::{Paths, revoke, write};

use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strata_events::HostName;

/// Why a permit or a set of keys could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("{0} is not a usable key: {1}")]
    BadKey(&'static str, nkeys::error::Error),
    #[error("the host's public key must be that of a NATS user (it begins with U), not {0:?}")]
    NotAUserKey(String),
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
}

/// A permit and the private key that it was made for: what a NATS client shows to be let in.
#[derive(Clone)]
pub struct Credentials {
    pub jwt: String,
    /// The private key's seed. Never logged: `Debug` leaves it out.
    pub seed: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// The text of a `.creds` file, as every NATS client reads it.
    pub fn to_file_text(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt, self.seed
        )
    }
}

/// The keys that sign. Whoever has them can admit anyone.
pub struct Authority {
    operator: KeyPair,
    /// The server's own account, which it wants before it runs JetStream under an operator.
    system: KeyPair,
    account: KeyPair,
}

/// The one key that a conductor needs, to admit hosts that join.
pub struct AccountKey(KeyPair);

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.0.public_key())
    }
}

impl Authority {
    pub fn generate() -> Self {
        Self { operator: KeyPair::new_operator(), system: KeyPair::new_account(), account: KeyPair::new_account() }
    }

    /// The seeds of operator, system account and account, to be kept.
    pub fn seeds(&self) -> Result<[String; 3], CredentialError> {
        let seed = |name, key: &KeyPair| key.seed().map_err(|e| CredentialError::BadKey(name, e));
        Ok([
            seed("the operator key", &self.operator)?,
            seed("the system account key", &self.system)?,
            seed("the account key", &self.account)?,
        ])
    }

    pub fn from_seeds([operator, system, account]: [&str; 3]) -> Result<Self, CredentialError> {
        Ok(Self {
            operator: key("the operator key", operator)?,
            system: key("the system account key", system)?,
            account: key("the account key", account)?,
        })
    }

    pub fn account_key(&self) -> Result<AccountKey, CredentialError> {
        let seed = self.account.seed().map_err(|e| CredentialError::BadKey("the account key", e))?;
        AccountKey::from_seed(&seed)
    }

    /// The configuration of a server that trusts this authority, listens on the loopback and keeps its streams in `store`.
    pub fn server_config(&self, port: u16, store: &std::path::Path, revoked: &BTreeSet<String>) -> Result<String, CredentialError> {
        Ok(format!(
            "# Written by Strata; changes are lost. The keys that sign lie beside it.\n\
             listen: \"127.0.0.1:{port}\"\n\
             server_name: strata\n\
             max_payload: 1048576\n\
             jetstream {{ store_dir: {store} }}\n\
             {trust}",
            store = serde_json::Value::from(store.to_string_lossy().as_ref()),
            trust = self.trust(revoked)?,
        ))
    }

    /// The part of a server's configuration that makes it trust this authority, the permits of revoked keys excepted: for a
    /// server that somebody else runs.
    pub fn trust(&self, revoked: &BTreeSet<String>) -> Result<String, CredentialError> {
        let operator = jwt::sign(
            &self.operator,
            json!({
                "name": "strata", "sub": self.operator.public_key(),
                "nats": { "type": "operator", "version": 2, "system_account": self.system.public_key() },
            }),
        )?;
        let revocations: serde_json::Map<String, Value> = revoked.iter().map(|key| (key.clone(), jwt::ISSUED.into())).collect();
        let account = |key: &KeyPair, name: &str, storage: i64| {
            jwt::sign(
                &self.operator,
                json!({
                    "name": name, "sub": key.public_key(),
                    "nats": {
                        "type": "account", "version": 2,
                        "default_permissions": { "pub": {}, "sub": {} },
                        "revocations": revocations,
                        "limits": {
                            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
                            "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
                        },
                    },
                }),
            )
        };
        Ok(format!(
            "operator: {operator}\n\
             system_account: {system}\n\
             resolver: MEMORY\n\
             resolver_preload: {{\n  {system}: {system_jwt}\n  {account}: {account_jwt}\n}}\n",
            system = self.system.public_key(),
            account = self.account.public_key(),
            system_jwt = account(&self.system, "SYS", 0)?,
            account_jwt = account(&self.account, "strata", -1)?,
        ))
    }
}

impl AccountKey {
    pub fn from_seed(seed: &str) -> Result<Self, CredentialError> {
        key("the account key", seed).map(Self)
    }

    /// New credentials for the control plane, which may do everything in the account.
    pub fn control_plane(&self) -> Result<Credentials, CredentialError> {
        let user = KeyPair::new_user();
        let seed = user.seed().map_err(|e| CredentialError::BadKey("the new user key", e))?;
        Ok(Credentials { jwt: self.user("control-plane", &user.public_key(), json!({}), json!({}), None)?, seed })
    }

    /// A permit for a host that has the private half of `public_key`.
    pub fn host(&self, host: &HostName, public_key: &str) -> Result<String, CredentialError> {
        check_user_key(public_key)?;
        let mut publish = vec![format!("$JS.API.DIRECT.GET.KV_PLANS.$KV.PLANS.{host}.>"), format!("report.{host}.>")];
        for role in ROLES {
            let consumer = consumer(host, role);
            publish.push(format!("$JS.API.CONSUMER.CREATE.KV_PLANS.{consumer}.$KV.PLANS.{host}.>"));
            publish.push(format!("$JS.API.CONSUMER.DELETE.KV_PLANS.{consumer}"));
            publish.push(format!("$JS.API.CONSUMER.INFO.KV_PLANS.{consumer}"));
            publish.push(format!("$JS.API.CONSUMER.MSG.NEXT.KV_PLANS.{consumer}"));
        }
        let subscribe = json!({ "allow": [format!("{}.>", inbox(host)), format!("ask.{host}.>")] });
        // It may answer what it is asked, once each.
        let answer = json!({ "max": 1, "ttl": 30_000_000_000_u64 });
        self.user(host, public_key, json!({ "allow": publish }), subscribe, Some(answer))
    }

    fn user(
        &self,
        name: impl std::fmt::Display,
        public_key: &str,
        publish: Value,
        subscribe: Value,
        answer: Option<Value>,
    ) -> Result<String, CredentialError> {
        let mut claims = json!({
            "name": name.to_string(), "sub": public_key,
            "nats": { "type": "user", "version": 2, "pub": publish, "sub": subscribe, "subs": -1, "data": -1, "payload": -1 },
        });
        if let Some(answer) = answer {
            claims["nats"]["resp"] = answer;
        }
        jwt::sign(&self.0, claims)
    }
}

/// Whether this is the public half of a NATS user's key.
pub fn check_user_key(public_key: &str) -> Result<(), CredentialError> {
    match KeyPair::from_public_key(public_key) {
        Ok(key) if key.key_pair_type() == KeyPairType::User => Ok(()),
        _ => Err(CredentialError::NotAUserKey(public_key.into())),
    }
}

/// A new key for a host: seed (which stays there) and public half (with which it joins).
pub fn new_host_key() -> Result<(String, String), CredentialError> {
    let key = KeyPair::new_user();
    let seed = key.seed().map_err(|e| CredentialError::BadKey("the new host key", e))?;
    Ok((seed, key.public_key()))
}

/// The worker processes that a host may have.
pub const ROLES: [&str; 3] = ["compute", "network", "all"];

/// The name of the consumer with which a worker of a host reads its plan: fixed, because a permit names it. Two hosts can't
/// have the same, whatever their names: the role comes first and holds no '-'.
pub fn consumer(host: &HostName, role: &str) -> String {
    format!("plan-{role}-{host}")
}

/// Where answers to a host go: its client must be told (`custom_inbox_prefix`).
pub fn inbox(host: &HostName) -> String {
    format!("_INBOX_{host}")
}

fn key(name: &'static str, seed: &str) -> Result<KeyPair, CredentialError> {
    KeyPair::from_seed(seed.trim()).map_err(|e| CredentialError::BadKey(name, e))
}
