//! What a host is asked over NATS: the console log of a server. Answers go to whoever asked; the host's permit lets it answer
//! each question once and publish nothing else.

use crate::link::{Link, backoff};
use async_nats::Message;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use strata_events::InstanceId;
use strata_projections::report::{CONSOLE_BYTES, ConsoleAnswer, ConsoleRequest, ask};
use tokio::sync::Semaphore;

/// Reads the end of an instance's console log: so many lines of it, or all. An error's sentence is for the user.
pub type ReadConsole = Arc<dyn Fn(InstanceId, Option<u32>) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// How many questions are answered at the same time; the others wait.
const AT_ONCE: usize = 8;

/// Answers for ever.
pub(crate) async fn answer(link: &Link, read: Option<ReadConsole>) {
    let Some(read) = read else { return std::future::pending().await };
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut failures = 0;
    loop {
        match link.client.subscribe(ask(&link.host, "console")).await {
            Ok(mut messages) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let (client, read) = (link.client.clone(), read.clone());
                    tokio::spawn(async move {
                        console(client, read, message).await;
                        drop(permit);
                    });
                }
            }
            Err(e) => tracing::warn!(host = %link.host, error = %e, "can't listen for questions"),
        }
        failures += 1;
        tokio::time::sleep(backoff(failures)).await;
    }
}

async fn console(client: async_nats::Client, read: ReadConsole, message: Message) {
    let Some(reply) = message.reply else { return };
    let answer = match serde_json::from_slice::<ConsoleRequest>(&message.payload) {
        Ok(ask) => match read(ask.id, ask.lines).await {
            Ok(text) => ConsoleAnswer::Text { text: end_of(text) },
            Err(reason) => ConsoleAnswer::Failed { reason },
        },
        Err(e) => ConsoleAnswer::Failed { reason: format!("the question can't be read: {e}") },
    };
    let body = serde_json::to_vec(&answer).unwrap_or_else(|e| unreachable!("plain data: {e}"));
    let _ = client.publish(reply, body.into()).await;
}

/// As much of the end as a message holds.
fn end_of(text: String) -> String {
    match text.len().checked_sub(CONSOLE_BYTES) {
        None | Some(0) => text,
        Some(mut from) => {
            while !text.is_char_boundary(from) {
                from += 1;
            }
            text[from..].to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_told_whole_characters_only() {
        let long = format!("{}{}", "ä".repeat(CONSOLE_BYTES), "x");
        let end = end_of(long);
        assert!(end.len() <= CONSOLE_BYTES && end.ends_with("äx"));
        assert_eq!(end_of("short".into()), "short");
    }
}
