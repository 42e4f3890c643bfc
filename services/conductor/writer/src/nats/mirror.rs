//! EVENTS: the log as a JetStream stream, in order and exactly once, for tools and plug-ins.
//!
//! **Invariant: the message with sequence N is the event at position N.** Each is published on the condition that the stream's
//! last sequence is N-1, so several publishers can neither reorder, skip nor repeat; `Nats-Msg-Id` is the position too. (The
//! condition on the last message's *id* would say the same, but a server forgets that id over a restart when the message is
//! older than the duplicate window; the sequence it never forgets.) A stream that can't be continued (it was wiped, has
//! holes, belongs to another log) is made anew and filled from position 1.

use super::trouble::{Store, Trouble};
use super::{Link, Progress, jetstream, pause};
use crate::Conductor;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishError};
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::jetstream::{self, ErrorCode, stream};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::fmt::Write;
use std::future::IntoFuture;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strata_log::Raw;

/// The stream's name.
pub const STREAM: &str = "EVENTS";
/// How many messages may wait for the server's acknowledgement.
const IN_FLIGHT: usize = 256;
/// How many rows are read at once.
const PAGE: u32 = 500;
/// How often the stream is looked at when nothing happens: it may have been wiped under a living connection.
const LOOK: Duration = Duration::from_secs(10);

pub(super) async fn run(link: &Link, conductor: &Conductor, progress: &Progress) {
    let mut connected = link.connected.clone();
    let (mut failures, mut store) = (0, Store::default());
    loop {
        connected.borrow_and_update();
        match session(link, conductor, progress, &mut connected, &mut failures).await {
            Ok(()) => {}
            Err(trouble) => {
                let why = store.suffered(link, STREAM, trouble).await;
                failures += 1;
                // Another publisher being ahead is normal; what lasts is told.
                if failures.is_multiple_of(10) {
                    tracing::warn!(why, failures, "the mirror of the log does not get on");
                } else {
                    tracing::debug!(why, "the mirror begins again");
                }
                pause(failures, &mut connected).await;
            }
        }
    }
}

async fn session(
    link: &Link,
    conductor: &Conductor,
    progress: &Progress,
    connected: &mut tokio::sync::watch::Receiver<u64>,
    failures: &mut u32,
) -> Result<(), Trouble> {
    let js = jetstream(link);
    let mut positions = conductor.watch();
    let mut place = ensure(&js, conductor).await?;
    loop {
        progress.mirrored.store(place, Ordering::Relaxed);
        let until = *positions.borrow_and_update();
        while place < until {
            let rows = conductor.log().rows_from(place + 1, PAGE).await.map_err(|e| e.to_string())?;
            let Some(last) = rows.last() else { break };
            let to = last.position;
            publish(&js, &rows).await?;
            place = to;
            *failures = 0;
            progress.mirrored.store(place, Ordering::Relaxed);
        }
        tokio::select! {
            changed = positions.changed() => changed.map_err(|e| e.to_string())?,
            _ = connected.changed() => return Ok(()),
            () = tokio::time::sleep(LOOK) => return Ok(()),
        }
    }
}

/// Makes sure that the stream is there and continues this log; gives its last position.
async fn ensure(js: &jetstream::Context, conductor: &Conductor) -> Result<u64, String> {
    let config = stream::Config {
        name: STREAM.into(),
        description: Some("Strata's log, event by event: sequence and message id are the position".into()),
        subjects: vec!["events.>".into()],
        storage: stream::StorageType::File,
        duplicate_window: Duration::from_secs(10),
        allow_direct: true,
        ..Default::default()
    };
    let stream = match js.get_stream(STREAM).await {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND) => {
            js.create_stream(config.clone()).await.map_err(|e| e.to_string())?;
            return Ok(0);
        }
        Err(e) => return Err(e.to_string()),
    };
    let state = stream.cached_info().state.clone();
    if let Some(why) = unfit(&stream, &state, conductor).await? {
        tracing::warn!(why, "EVENTS can't be continued: it is made anew and filled from the log");
        js.delete_stream(STREAM).await.map_err(|e| e.to_string())?;
        js.create_stream(config).await.map_err(|e| e.to_string())?;
        return Ok(0);
    }
    Ok(state.last_sequence)
}

/// Why the stream is not the beginning of this log; none if it is.
async fn unfit(stream: &stream::Stream, state: &stream::State, conductor: &Conductor) -> Result<Option<String>, String> {
    let last = state.last_sequence;
    if state.messages != last {
        return Ok(Some(format!("it holds {} messages, but its last is number {last}", state.messages)));
    }
    if last == 0 {
        return Ok(None);
    }
    let head = conductor.log().head().await.map_err(|e| e.to_string())?.position;
    if last > head {
        return Ok(Some(format!("it goes to position {last}, the log only to {head}")));
    }
    let rows = conductor.log().rows_from(last, 1).await.map_err(|e| e.to_string())?;
    let message = match stream.direct_get(last).await {
        Ok(message) => message,
        Err(e) if e.kind() == DirectGetErrorKind::NotFound => return Ok(Some(format!("its message {last} can't be read"))),
        Err(e) => return Err(e.to_string()),
    };
    Ok(match rows.first() {
        Some(row) if published(row).as_bytes() == &message.payload[..] => None,
        _ => Some(format!("its message {last} is not the log's event")),
    })
}

/// Publishes rows that follow each other, many at a time, and returns when all are stored.
async fn publish(js: &jetstream::Context, rows: &[Raw]) -> Result<(), Trouble> {
    let mut waiting = FuturesOrdered::new();
    for row in rows {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, row.position.to_string());
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, (row.position - 1).to_string());
        let subject = subject_of(&row.kind, &row.id);
        let ack = js.publish_with_headers(subject, headers, published(row).into()).await?;
        waiting.push_back(ack.into_future());
        while waiting.len() >= IN_FLIGHT {
            stored(waiting.next().await)?;
        }
    }
    while !waiting.is_empty() {
        stored(waiting.next().await)?;
    }
    Ok(())
}

fn stored<T>(ack: Option<Result<T, PublishError>>) -> Result<(), Trouble> {
    match ack {
        Some(Err(e)) => Err(e.into()),
        _ => Ok(()),
    }
}

/// `events.<kind>.<id>`, where what can't stand in a subject's token is written `=XX`.
pub fn subject_of(kind: &str, id: &str) -> String {
    let mut subject = format!("events.{kind}.");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            subject.push(char::from(byte));
        } else {
            let _ = write!(subject, "={byte:02X}"); // writing to a String can't fail
        }
    }
    if id.is_empty() {
        subject.push('=');
    }
    subject
}

/// An event as it is published: its envelope and its body, as JSON. `strata events --json` prints the same.
pub fn published(row: &Raw) -> String {
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let caused_by = row.caused_by.map_or("null".into(), |p| p.to_string());
    format!(
        r#"{{"position":{},"stream":{{"kind":{},"id":{}}},"version":{},"recorded_at":{},"actor":{},"request_id":{},"caused_by":{},"type":{},"schema_version":{},"body":{},"hash":{}}}"#,
        row.position,
        text(&row.kind),
        text(&row.id),
        row.version,
        text(&row.recorded_at.micros()),
        row.actor,
        text(&row.request_id),
        caused_by,
        text(&row.type_name),
        row.schema_version,
        row.body,
        text(&row.hash.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::subject_of;

    #[test]
    fn any_id_makes_one_token() {
        assert_eq!(subject_of("instance", "5f0c-1"), "events.instance.5f0c-1");
        assert_eq!(subject_of("keypair", "u/a b.*>"), "events.keypair.u=2Fa=20b=2E=2A=3E");
        assert_eq!(subject_of("flavor", ""), "events.flavor.=");
        assert_ne!(subject_of("flavor", "=2F"), subject_of("flavor", "/"));
    }
}
