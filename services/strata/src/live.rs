//! What the running replicas answer about themselves on NATS: the state that each holds, as position and digest.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strata_writer::Conductor;

/// Only the control plane may ask: hosts have no right to this subject.
const SUBJECT: &str = "strata.state";
/// How long replicas have to begin to answer, and then for each next answer.
const FIRST: Duration = Duration::from_secs(10);
const NEXT: Duration = Duration::from_millis(700);

/// A replica's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOf {
    pub replica: String,
    pub position: u64,
    pub digest: String,
}

/// Answers those who ask, until NATS is gone for good.
pub async fn answer(client: async_nats::Client, conductor: Conductor, replica: String) -> Result<()> {
    let mut asked = client.subscribe(SUBJECT).await.context("can't listen on NATS")?;
    while let Some(message) = asked.next().await {
        let Some(reply) = message.reply else { continue };
        let (cloud, replica) = (conductor.latest(), replica.clone());
        let state = tokio::task::spawn_blocking(move || StateOf { replica, position: cloud.position, digest: cloud.digest().to_string() });
        client.publish(reply, serde_json::to_vec(&state.await?)?.into()).await?;
    }
    Ok(())
}

/// Asks all replicas.
pub async fn states(client: &async_nats::Client) -> Result<Vec<StateOf>> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(SUBJECT, inbox, "".into()).await?;
    let mut states = vec![];
    let mut patience = FIRST;
    while let Ok(Some(message)) = tokio::time::timeout(patience, answers.next()).await {
        // With nobody listening the server itself answers at once, without a body.
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            break;
        }
        states.push(serde_json::from_slice(&message.payload)?);
        patience = NEXT;
    }
    Ok(states)
}
