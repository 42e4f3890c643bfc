//! Joining: an admin makes a token for a name; the host shows it once, with the public half of its key, and gets its permit.
//! The token stands in the log only as its SHA-256, the private half nowhere.

use crate::{Conductor, Failure, now};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use strata_conductor::decide::host::{InviteHost, JoinHost};
use strata_conductor::{Context, Refusal};
use strata_credentials::AccountKey;
use strata_events::HostName;
use strata_events::host::Inventory;

/// What a host shows and tells when it joins.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAsk {
    pub token: String,
    pub host: String,
    /// The public half of its NATS user key.
    pub public_key: String,
    /// Empty: the default zone.
    #[serde(default)]
    pub zone: String,
    pub inventory: Inventory,
}

/// What it gets: with its own seed, all that a worker needs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Joined {
    pub host: HostName,
    pub nats_url: String,
    pub jwt: String,
}

/// Makes a token with which one host of this name may join within `seconds`. It is told once.
pub async fn invite(conductor: &Conductor, ctx: Context, host: &HostName, seconds: i64) -> Result<String, Failure> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|e| Failure::Unavailable(format!("the kernel gives no random bytes: {e}")))?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    conductor.run(ctx, InviteHost { host: host.clone(), hash: hash(&token), expires_at: now().plus_secs(seconds) }).await?;
    Ok(token)
}

/// Lets a host in, if the token is good, and signs its permit.
pub async fn join(conductor: &Conductor, account: &AccountKey, nats_url: &str, ctx: Context, ask: JoinAsk) -> Result<Joined, Failure> {
    let refused = |message: String| Failure::Refused(Refusal::invalid(message));
    let host = HostName::parse(&ask.host)
        .map_err(|_| refused(format!("{:?} can't be a host's name: use 1 to 63 letters, digits, '-' and '_'.", ask.host)))?;
    // Before the token is used up.
    let jwt = account.host(&host, &ask.public_key).map_err(|e| refused(e.to_string()))?;
    let command =
        JoinHost { host: host.clone(), hash: hash(&ask.token), public_key: ask.public_key, zone: ask.zone, inventory: ask.inventory };
    conductor.run(ctx, command).await?;
    Ok(Joined { host, nats_url: nats_url.into(), jwt })
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}
