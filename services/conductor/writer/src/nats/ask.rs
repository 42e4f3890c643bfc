//! Asking a host for what only it has: the console log of a server. Nothing of it is kept here.

use super::Link;
use std::time::Duration;
use strata_events::{HostName, InstanceId};
use strata_projections::report::{ConsoleAnswer, ConsoleRequest, ask};

/// Why a host did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Its worker is not there, or is busy.
    #[error("host {0} does not answer")]
    Silent(HostName),
    /// The sentence is for the user.
    #[error("{0}")]
    Failed(String),
}

/// How long a host has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of a server's console log.
pub async fn console(link: &Link, host: &HostName, id: InstanceId, lines: Option<u32>) -> Result<String, AskError> {
    let body = serde_json::to_vec(&ConsoleRequest { id, lines }).unwrap_or_else(|e| unreachable!("plain data: {e}"));
    let asked = tokio::time::timeout(PATIENCE, link.client.request(ask(host, "console"), body.into())).await;
    let answer = asked.ok().and_then(Result::ok).ok_or_else(|| AskError::Silent(host.clone()))?;
    match serde_json::from_slice(&answer.payload) {
        Ok(ConsoleAnswer::Text { text }) => Ok(text),
        Ok(ConsoleAnswer::Failed { reason }) => Err(AskError::Failed(reason)),
        Err(e) => Err(AskError::Failed(format!("the host's answer can't be read: {e}"))),
    }
}
