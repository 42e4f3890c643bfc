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

/// What a batch of commands leads to, on top of a state that need not be committed yet.
pub(crate) struct Decided {
    base: Arc<Cloud>,
    pub cloud: Arc<Cloud>,
    pub batch: Batch,
    pub asks: Vec<Ask>,
    /// For each command, which of the batch's events are its own.
    pub outcomes: Vec<Result<Range<usize>, Failure>>,
    bytes: usize,
    /// Commands whose events could not apply, and why.
    poisoned: Vec<(usize, String)>,
}

impl Decided {
    /// Nothing yet, on this state.
    pub fn on(cloud: Arc<Cloud>, head: Head) -> Self {
        Decided { base: cloud.clone(), cloud, batch: Batch::new(head), asks: vec![], outcomes: vec![], bytes: 0, poisoned: vec![] }
    }

    pub fn is_full(&self) -> bool {
        self.asks.len() >= MAX_BATCH || self.bytes >= MAX_BYTES
    }

    /// Decides as many of these commands as fit, the first ones first.
    pub fn extend(&mut self, from: &mut Vec<Ask>) {
        let mut waiting = std::mem::take(from).into_iter();
        while !self.is_full()
            && let Some(ask) = waiting.next()
        {
            let outcome = self.decide(&ask);
            self.asks.push(ask);
            match outcome {
                Ok(outcome) => self.outcomes.push(outcome),
                Err(why) => self.without(self.asks.len() - 1, why),
            }
        }
        from.extend(waiting);
    }

    /// Decides one command; an error means that the state is spoilt.
    fn decide(&mut self, ask: &Ask) -> Result<Result<Range<usize>, Failure>, String> {
        let encoded = match ask.command.decide(&self.cloud, &ask.ctx).and_then(encode) {
            Ok(encoded) => encoded,
            Err(refusal) => return Ok(Err(Failure::Refused(refusal))),
        };
        let first = self.batch.entries.len();
        if !encoded.is_empty() {
            let actor: Arc<str> =
                serde_json::to_string(&ask.ctx.actor).unwrap_or_else(|e| unreachable!("an actor is plain data: {e}")).into();
            let state = Arc::make_mut(&mut self.cloud);
            for (event, body) in encoded {
                self.bytes += body.len();
                let stream = event.stream();
                let recorded = Arc::new(record(state, &ask.ctx, &stream, event));
                state.apply(&recorded).map_err(|e| e.to_string())?;
                self.batch.push(recorded, stream.id, actor.clone(), body);
            }
        }
        Ok(Ok(first..self.batch.entries.len()))
    }

    /// The rules yielded events that the state does not take: an error of the program, found before it is in the log. All
    /// is decided again without that command.
    fn without(&mut self, index: usize, why: String) {
        tracing::error!(command = ?self.asks[index].command, %why, "a command's events cannot apply: it is refused");
        self.poisoned.push((index, why));
        let asks = std::mem::take(&mut self.asks);
        'again: loop {
            self.cloud = self.base.clone();
            self.batch = Batch::new(self.batch.after);
            self.bytes = 0;
            self.outcomes.clear();
            for (index, ask) in asks.iter().enumerate() {
                let outcome = match self.poisoned.iter().find(|(i, _)| *i == index) {
                    Some((_, why)) => Ok(Err(Failure::Refused(broken(why)))),
                    None => self.decide(ask),
                };
                match outcome {
                    Ok(outcome) => self.outcomes.push(outcome),
                    Err(why) => {
                        self.poisoned.push((index, why));
                        continue 'again;
                    }
                }
            }
            break;
        }
        self.asks = asks;
    }
}

fn broken(why: &str) -> Refusal {
    Refusal::new(Class::Unavailable, "InternalError", format!("This can't be done because of an error in Strata: {why}"))
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
