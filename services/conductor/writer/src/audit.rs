//! The audit trail beside the log: mutating calls of which no event tells, refused or accepted without a change. The other
//! half is projected from the log.
//!
//! They stand outside the log and are limited by caller, so that nobody can fill either; how many were left out is itself
//! recorded. Nobody waits for this: the queue is bounded, and a record that finds it full is counted as left out.

use crate::handle::Conductor;
use crate::writer::backoff;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strata_log::{AuditedCall, Log};
use tokio::sync::{mpsc, oneshot};

/// Records that wait to be written.
const QUEUE: usize = 4_096;
/// Records in one statement.
const BATCH: usize = 500;
/// Records that come within this share a statement, and its fsync: logins must not pay one each.
const GATHER: Duration = Duration::from_millis(100);
/// So many refusals of one caller are recorded at once, and so many a second from then on; as many accepted calls beside them,
/// so that neither crowds out the other.
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 20.0;
/// Callers remembered; past that those are forgotten who had not used up their share.
const CALLERS: usize = 10_000;
/// Bytes of a record's texts.
const LONGEST: usize = 500;

/// Where calls are recorded.
pub(crate) struct Audit {
    queue: mpsc::Sender<Item>,
    callers: Mutex<HashMap<String, Share>>,
}

enum Item {
    Call(AuditedCall),
    /// Tell when all that came before is written.
    Flush(oneshot::Sender<()>),
}

struct Share {
    left: f64,
    at: Instant,
    left_out: u64,
}

impl Audit {
    pub fn start(log: Log) -> Arc<Audit> {
        let (queue, items) = mpsc::channel(QUEUE);
        tokio::spawn(write(log, items));
        Arc::new(Audit { queue, callers: Mutex::default() })
    }

    fn record(&self, mut call: AuditedCall) {
        let mut caller = call.user.clone().unwrap_or_else(|| call.from.clone());
        let kind = if call.is_refused() { "refused" } else { "accepted" };
        if !call.is_refused() {
            caller.push_str(" accepted");
        }
        let left_out = match self.admit(&caller, Instant::now()) {
            Some(left_out) => left_out,
            None => return,
        };
        if left_out > 0 {
            call.reason = format!("{} ({left_out} {kind} calls of this caller before it were not recorded)", call.reason);
        }
        for text in [&mut call.action, &mut call.reason, &mut call.request_id, &mut call.from] {
            shorten(text);
        }
        if self.queue.try_send(Item::Call(call)).is_err()
            && let Some(share) = self.lock().get_mut(&caller)
        {
            share.left_out += left_out + 1;
        }
    }

    /// Whether this caller's next record is written; if so, how many were not since the last.
    fn admit(&self, caller: &str, now: Instant) -> Option<u64> {
        let mut callers = self.lock();
        if callers.len() >= CALLERS && !callers.contains_key(caller) {
            callers.retain(|_, share| share.refilled(now) < BURST || share.left_out > 0);
            if callers.len() >= CALLERS {
                callers.clear();
            }
        }
        let share = callers.entry(caller.to_owned()).or_insert(Share { left: BURST, at: now, left_out: 0 });
        share.left = share.refilled(now);
        share.at = now;
        if share.left < 1.0 {
            share.left_out += 1;
            return None;
        }
        share.left -= 1.0;
        Some(std::mem::take(&mut share.left_out))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Share>> {
        // Nothing that panics runs under the lock.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn refilled(&self, now: Instant) -> f64 {
        (self.left + now.duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST)
    }
}

/// Postgres' text holds no NUL, and a client chooses some of these texts.
fn shorten(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

async fn write(log: Log, mut items: mpsc::Receiver<Item>) {
    while let Some(first) = items.recv().await {
        let (mut batch, mut told) = (Vec::new(), Vec::new());
        let until = tokio::time::Instant::now() + GATHER;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Call(call) => batch.push(call),
                Item::Flush(tell) => {
                    told.push(tell);
                    break;
                }
            }
            if batch.len() >= BATCH {
                break;
            }
            next = tokio::time::timeout_at(until, items.recv()).await.ok().flatten();
        }
        keep(&log, &batch).await;
        for tell in told {
            // whoever asked may have gone
            let _ = tell.send(());
        }
    }
}

/// Writes them, however long Postgres is away: meanwhile the queue fills, and what finds it full is counted.
async fn keep(log: &Log, batch: &[AuditedCall]) {
    let mut tries = 0;
    while !batch.is_empty() {
        match log.add_calls(batch).await {
            Ok(()) => return,
            Err(error) if error.is_connection() => {
                tokio::time::sleep(backoff(tries)).await;
                tries += 1;
            }
            Err(error) => {
                tracing::error!(%error, records = batch.len(), "audit records of calls are lost");
                return;
            }
        }
    }
}

impl Conductor {
    /// Leaves the record of a mutating call of which no event tells. Returns at once.
    pub fn audit(&self, call: AuditedCall) {
        self.audit.record(call);
    }

    /// Returns when the records so far are written: before a process ends.
    pub async fn audited(&self) {
        let (tell, told) = oneshot::channel();
        if self.audit.queue.send(Item::Flush(tell)).await.is_ok() {
            let _ = told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_is_limited_and_told_about_the_others_are_not() {
        let (queue, _calls) = mpsc::channel(1);
        let audit = Audit { queue, callers: Mutex::default() };
        let start = Instant::now();
        assert_eq!((0..1000).filter(|_| audit.admit("mallory", start).is_some()).count(), 500);
        assert_eq!(audit.admit("alice", start), Some(0));
        assert_eq!(audit.admit("mallory", start + Duration::from_secs(1)), Some(500));
        assert_eq!(audit.admit("mallory", start + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn a_million_callers_leave_memory_bounded() {
        let (queue, _calls) = mpsc::channel(1);
        let audit = Audit { queue, callers: Mutex::default() };
        let start = Instant::now();
        for i in 0..100_000 {
            audit.admit(&i.to_string(), start);
        }
        assert!(audit.lock().len() <= CALLERS);
    }
}
