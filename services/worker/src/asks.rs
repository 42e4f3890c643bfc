//! What a host is asked over NATS: the console log of a server, and whether it can do its work. Answers go to whoever asked; the
//! host's permit lets it answer each question once and publish nothing else.

use crate::Half;
use crate::link::{Link, backoff};
use async_nats::Message;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use std::sync::Arc;
use strata_events::InstanceId;
use strata_projections::report::{CONSOLE_BYTES, Condition, ConsoleAnswer, ConsoleRequest, ask};
use tokio::sync::Semaphore;

/// Reads the end of an instance's console log: so many lines of it, or all. An error's sentence is for the user.
pub type ReadConsole = Arc<dyn Fn(InstanceId, Option<u32>) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// How many questions of a kind are answered at the same time; the others wait.
const AT_ONCE: usize = 8;
/// How long a look at the hypervisor or the data plane may take.
const LOOK: std::time::Duration = std::time::Duration::from_secs(2);

/// Answers for ever.
pub(crate) async fn answer(link: &Link, reader: Option<ReadConsole>, halves: &[Arc<dyn Half>]) {
    let condition = serve(link, format!("condition.{}", link.role), |message| {
        let halves = halves.to_vec();
        async move { tell(&condition_of(&halves).await, message) }.boxed()
    });
    let Some(read) = reader else { return condition.await };
    let consoles = serve(link, "console".into(), |message| {
        let read = read.clone();
        async move { tell(&console(read, &message).await, message) }.boxed()
    });
    tokio::join!(condition, consoles);
}

/// Something to publish, and where.
type Told = Option<(async_nats::Subject, bytes::Bytes)>;

fn tell(answer: &impl serde::Serialize, message: Message) -> Told {
    let body = serde_json::to_vec(answer).unwrap_or_else(|e| unreachable!("plain data: {e}"));
    message.reply.map(|reply| (reply, body.into()))
}

/// Answers the questions of one kind for ever.
async fn serve(link: &Link, what: String, answer: impl Fn(Message) -> BoxFuture<'static, Told>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut failures = 0;
    loop {
        match link.client.subscribe(ask(&link.host, &what)).await {
            Ok(mut messages) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let (client, answer) = (link.client.clone(), answer(message));
                    tokio::spawn(async move {
                        if let Some((reply, body)) = answer.await {
                            let _ = client.publish(reply, body).await;
                        }
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

async fn condition_of(halves: &[Arc<dyn Half>]) -> Condition {
    let looked = tokio::time::timeout(LOOK, join_all(halves.iter().map(|h| h.trouble()))).await;
    Condition {
        trouble: looked.map_or_else(
            |_| Some("what it works with (libvirt, the kernel) does not answer; what runs goes on, nothing is changed".into()),
            |found| found.into_iter().flatten().next(),
        ),
    }
}

async fn console(read: ReadConsole, message: &Message) -> ConsoleAnswer {
    match serde_json::from_slice::<ConsoleRequest>(&message.payload) {
        Ok(ask) => match read(ask.id, ask.lines).await {
            Ok(text) => ConsoleAnswer::Text { text: end_of(text) },
            Err(reason) => ConsoleAnswer::Failed { reason },
        },
        Err(e) => ConsoleAnswer::Failed { reason: format!("the question can't be read: {e}") },
    }
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
