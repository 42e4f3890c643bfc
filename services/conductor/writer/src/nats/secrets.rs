//! Hosts ask for what their plan only names: the user data of a server that is placed there. It is opened here, sealed to the key
//! of the question, and stands in clear text in no message (invariant 12). **Only the host that the server is placed on is
//! told, and only if it signed the question.**

use super::Link;
use crate::Conductor;
use fernet::{Fernet, MultiFernet};
use strata_credentials::proof;
use strata_events::{HostName, SecretId};
use strata_projections::Cloud;
use strata_projections::report::{SecretAnswer, SecretRequest};

/// How many questions are worked on at the same time.
const AT_ONCE: usize = 16;

pub(super) async fn run(link: &Link, conductor: &Conductor) {
    super::answer(link, "report.*.secret", AT_ONCE, |host, payload| {
        let conductor = conductor.clone();
        async move { answer(&conductor, host, &payload).await }
    })
    .await;
}

async fn answer(conductor: &Conductor, host: HostName, payload: &[u8]) -> SecretAnswer {
    let ask: SecretRequest = match serde_json::from_slice(payload) {
        Ok(ask) => ask,
        Err(e) => return SecretAnswer::Refused { reason: format!("the question can't be read: {e}") },
    };
    let cloud = match conductor.cloud().await {
        Ok(cloud) => cloud,
        Err(failure) => return SecretAnswer::Later { reason: failure.to_string() },
    };
    if !may_know(&cloud, &host, &ask) {
        tracing::warn!(%host, secret = %ask.id, "asked for what it may not know");
        return SecretAnswer::Refused { reason: "no server on this host needs it".into() };
    }
    match open(conductor, ask.id).await {
        Ok(text) => match proof::seal(&ask.seal_to, &text) {
            Ok(sealed) => SecretAnswer::Sealed { sender: sealed.sender, text: sealed.text },
            Err(e) => SecretAnswer::Refused { reason: e.to_string() },
        },
        Err(reason) => {
            tracing::error!(secret = %ask.id, reason, "can't be opened");
            SecretAnswer::Later { reason }
        }
    }
}

/// Pure: whether this host is to be told.
fn may_know(cloud: &Cloud, host: &HostName, ask: &SecretRequest) -> bool {
    let Some(known) = cloud.hosts.get(host) else { return false };
    proof::verify(&known.public_key, &SecretRequest::signed(host, &ask.id, &ask.seal_to), &ask.signature)
        && cloud.instances.on_host(host).any(|i| i.spec.user_data == Some(ask.id))
}

async fn open(conductor: &Conductor, id: SecretId) -> Result<Vec<u8>, String> {
    let sealed = conductor.log().secrets().get(id).await.map_err(|e| e.to_string())?.ok_or("it is not in the table of secrets")?;
    let keys = conductor.log().keys("secrets").all().await.map_err(|e| e.to_string())?;
    let keys = keys.iter().filter_map(|k| Fernet::new(std::str::from_utf8(&k.key).ok()?)).collect();
    let text = std::str::from_utf8(&sealed).map_err(|e| e.to_string())?;
    MultiFernet::new(keys).decrypt(text).map_err(|_| "none of the keys that seal secrets opens it".into())
}
