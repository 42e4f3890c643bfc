//! Deciding a batch: each command against the state that the ones before it left, all of it in memory.
//!
//! A refused command changes nothing. Refusals, too, are told only after the commit: they may rest on what is committed
//! with them.

use crate::handle::Failure;
use crate::writer::Ask;
use std::ops::Range;
use std::sync::Arc;
use strata_conductor::{Class, Context, Refusal};
use strata_events::{Event, Recorded, Stream, Timestamp};
use strata_log::{Batch, Head, MAX_BODY};
use strata_projections::Cloud;

/// The most commands that share a commit.
pub const MAX_BATCH: usize = 512;
/// The most events that one command may lead to.
pub const MAX_EVENTS: usize = 4_096;
/// The most bytes of bodies in a batch; a command that begins below it is still taken whole.
const MAX_BYTES: usize = 4 << 20;
/// The most bytes of a stream's id: an index entry takes no more.
const MAX_ID: usize = 2_000;
/// A host whose clock is behind records the time of the event before, unless that is further off than this: then its clock,
/// or the other's, is wrong, and following it would only spread the error.
const SKEW_MICROS: i64 = 5_000_000;

/// What a batch of commands leads to.
pub(crate) struct Decided {
    pub cloud: Arc<Cloud>,
    pub batch: Batch,
    /// For each command, which of the batch's events are its own.
    pub outcomes: Vec<Result<Range<usize>, Failure>>,
}

/// Decides as many of the commands as fit; there is an outcome for each of those, which are the first.
pub(crate) fn decide(cloud: &Arc<Cloud>, head: Head, asks: &[Ask]) -> Decided {
    let mut poisoned = vec![];
    loop {
        match attempt(cloud, head, asks, &poisoned) {
            Ok(decided) => return decided,
            // The rules yielded events that the state does not take: an error of the program, found before it is in the log.
            // The state is spoilt, so all is decided again without that command.
            Err((index, why)) => {
                tracing::error!(command = ?asks[index].command, %why, "a command's events cannot apply: it is refused");
                poisoned.push((index, why));
            }
        }
    }
}

fn attempt(cloud: &Arc<Cloud>, head: Head, asks: &[Ask], poisoned: &[(usize, String)]) -> Result<Decided, (usize, String)> {
    let mut cloud = cloud.clone();
    let mut batch = Batch::new(head);
    let mut outcomes = Vec::with_capacity(asks.len());
    let mut bytes = 0;
    for (index, ask) in asks.iter().enumerate() {
        if bytes >= MAX_BYTES {
            break;
        }
        if let Some((_, why)) = poisoned.iter().find(|(i, _)| *i == index) {
            let refusal =
                Refusal::new(Class::Unavailable, "InternalError", format!("This can't be done because of an error in Strata: {why}"));
            outcomes.push(Err(Failure::Refused(refusal)));
            continue;
        }
        let encoded = match ask.command.decide(&cloud, &ask.ctx).and_then(encode) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                outcomes.push(Err(Failure::Refused(refusal)));
                continue;
            }
        };
        let first = batch.entries.len();
        if !encoded.is_empty() {
            let actor: Arc<str> =
                serde_json::to_string(&ask.ctx.actor).unwrap_or_else(|e| unreachable!("an actor is plain data: {e}")).into();
            let state = Arc::make_mut(&mut cloud);
            for (event, body) in encoded {
                bytes += body.len();
                let stream = event.stream();
                let recorded = Arc::new(record(state, &ask.ctx, &stream, event));
                state.apply(&recorded).map_err(|e| (index, e.to_string()))?;
                batch.push(recorded, stream.id, actor.clone(), body);
            }
        }
        outcomes.push(Ok(first..batch.entries.len()));
    }
    Ok(Decided { cloud, batch, outcomes })
}

/// Encodes a command's events, and refuses what is too large for the log.
fn encode(events: Vec<Event>) -> Result<Vec<(Event, String)>, Refusal> {
    if events.len() > MAX_EVENTS {
        return Err(too_large(format!("The request would change {} things at once; at most {MAX_EVENTS} are possible.", events.len())));
    }
    events
        .into_iter()
        .map(|event| {
            let body = event.encode();
            let id = event.stream().id;
            // What Postgres can't hold would fail the whole batch: it is refused alone.
            if id.len() > MAX_ID || id.contains('\0') {
                return Err(Refusal::invalid("A name is too long, or holds a NUL character."));
            }
            match body.len() {
                0..=MAX_BODY => Ok((event, body)),
                size => Err(too_large(format!("The request is too large: {size} bytes, at most {MAX_BODY} are possible."))),
            }
        })
        .collect()
}

fn too_large(message: String) -> Refusal {
    Refusal::new(Class::TooLarge, "RequestEntityTooLarge", message)
}

fn record(cloud: &Cloud, ctx: &Context, stream: &Stream, event: Event) -> Recorded {
    Recorded {
        position: cloud.position + 1,
        version: cloud.next_version(stream),
        recorded_at: not_before(cloud.at, ctx.now),
        actor: ctx.actor.clone(),
        request_id: ctx.request_id.clone(),
        caused_by: ctx.caused_by,
        event,
    }
}

fn not_before(last: Timestamp, now: Timestamp) -> Timestamp {
    if last > now && last.0 - now.0 < SKEW_MICROS { last } else { now }
}
