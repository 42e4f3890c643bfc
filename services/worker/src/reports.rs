//! What the conductor has not yet taken in. Only the latest observation of each thing is kept, so what waits is bounded by what
//! is on the host, however long the control plane is away. One message is under way at a time: observations of one thing
//! never overtake each other.

use crate::half::Thing;
use crate::link::{Link, backoff};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use strata_projections::report::{Answer, BATCH, Report, Reports as Message, subject};
use tokio::sync::{Notify, mpsc};

/// See the module.
#[derive(Default)]
pub(crate) struct Reports {
    waiting: Mutex<Waiting>,
    some: Notify,
}

struct Waiting {
    /// How many go into a message: fewer while there is one among them that is refused.
    most: usize,
    order: VecDeque<Option<Thing>>,
    latest: HashMap<Option<Thing>, Report>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { most: BATCH, order: VecDeque::new(), latest: HashMap::new() }
    }
}

/// What an observation is about; none is the host itself.
fn thing(report: &Report) -> Option<Thing> {
    match report {
        Report::Instance { id, .. } | Report::InstanceAbsent { id, .. } | Report::InstanceFailed { id, .. } => Some(Thing::Instance(*id)),
        Report::PortPlugged { id } | Report::PortFailed { id, .. } | Report::PortAbsent { id } => Some(Thing::Port(*id)),
        Report::Inventory { .. } => None,
    }
}

impl Reports {
    /// To be told; an older observation of the same thing is forgotten.
    pub fn push(&self, report: Report) {
        let about = thing(&report);
        let mut waiting = self.lock();
        if waiting.latest.insert(about, report).is_none() {
            waiting.order.push_back(about);
        }
        drop(waiting);
        self.some.notify_one();
    }

    fn take(&self) -> Vec<Report> {
        let mut waiting = self.lock();
        let n = waiting.order.len().min(waiting.most);
        let Waiting { order, latest, .. } = &mut *waiting;
        order.drain(..n).filter_map(|about| latest.remove(&about)).collect()
    }

    fn taken(&self) {
        let mut waiting = self.lock();
        waiting.most = (waiting.most * 2).min(BATCH);
    }

    /// Said again it would be refused again, but perhaps it is only one among many: they are told apart. Gives that one back;
    /// it is not told, and the next whole plan brings what still matters.
    fn refused(&self, mut reports: Vec<Report>) -> Option<Report> {
        if reports.len() > 1 {
            self.lock().most = reports.len() / 2;
            self.put_back(reports);
            return None;
        }
        reports.pop()
    }

    /// Not taken in: they wait again, unless there is something newer.
    fn put_back(&self, reports: Vec<Report>) {
        let mut waiting = self.lock();
        for report in reports.into_iter().rev() {
            let about = thing(&report);
            if let std::collections::hash_map::Entry::Vacant(empty) = waiting.latest.entry(about) {
                empty.insert(report);
                waiting.order.push_front(about);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the conductor says is not this host's, as of a position of the log.
pub(crate) type Strays = (u64, Vec<Thing>);

/// Tells the conductor for ever.
pub(crate) async fn deliver(link: &Link, reports: &Reports, strays: &mpsc::Sender<Strays>) {
    let subject = subject(&link.host, "observed");
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        let batch = reports.take();
        if batch.is_empty() {
            reports.some.notified().await;
            continue;
        }
        let message = Message { reports: batch };
        let body = serde_json::to_vec(&message).unwrap_or_else(|e| unreachable!("reports are plain data: {e}"));
        connected.borrow_and_update();
        let answer = match link.client.request(subject.clone(), body.into()).await {
            Ok(reply) => serde_json::from_slice(&reply.payload).unwrap_or_else(|e| Answer::Later { reason: e.to_string() }),
            Err(e) => Answer::Later { reason: e.to_string() },
        };
        match answer {
            Answer::Taken => {
                failures = 0;
                reports.taken();
            }
            Answer::Strays { position, ports, instances } => {
                failures = 0;
                reports.taken();
                let things = ports.into_iter().map(Thing::Port).chain(instances.into_iter().map(Thing::Instance));
                let things: Vec<Thing> = things.collect();
                tracing::warn!(host = %link.host, ?things, "a forgotten plan had these made again; they are removed");
                // Only the worker's end closes it.
                let _ = strays.send((position, things)).await;
            }
            Answer::Refused { reason } => {
                if let Some(report) = reports.refused(message.reports) {
                    tracing::error!(host = %link.host, %reason, ?report, "the conductor refuses what this host reports");
                    tokio::time::sleep(backoff(4)).await;
                }
            }
            Answer::Later { reason } => {
                failures += 1;
                tracing::debug!(host = %link.host, %reason, failures, "reports wait");
                reports.put_back(message.reports);
                tokio::select! {
                    () = tokio::time::sleep(backoff(failures)) => {}
                    _ = connected.changed() => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_events::PortId;
    use uuid::Uuid;

    fn plugged(n: u128) -> Report {
        Report::PortPlugged { id: PortId(Uuid::from_u128(n)) }
    }
    fn failed(n: u128) -> Report {
        Report::PortFailed { id: PortId(Uuid::from_u128(n)), reason: "no".into() }
    }

    #[test]
    fn only_the_latest_of_each_thing_waits_in_the_order_of_the_first() {
        let reports = Reports::default();
        for report in [plugged(1), failed(2), failed(1), plugged(2), plugged(2)] {
            reports.push(report);
        }
        assert_eq!(reports.take(), [failed(1), plugged(2)]);
        assert_eq!(reports.take(), []);
    }

    #[test]
    fn one_that_is_refused_takes_no_other_with_it() {
        let reports = Reports::default();
        (0..300).for_each(|n| reports.push(plugged(n)));
        let (mut told, mut refused, mut messages) = (vec![], vec![], 0);
        loop {
            let batch = reports.take();
            messages += 1;
            match batch.is_empty() {
                true => break,
                false if batch.contains(&plugged(77)) => refused.extend(reports.refused(batch)),
                false => {
                    told.extend(batch);
                    reports.taken();
                }
            }
        }
        assert_eq!((told.len(), refused), (299, vec![plugged(77)]));
        assert!(messages < 40, "{messages}");
    }

    #[test]
    fn what_was_not_taken_waits_again_unless_something_newer_came() {
        let reports = Reports::default();
        for n in 0..600 {
            reports.push(plugged(n));
        }
        let batch = reports.take();
        assert_eq!(batch.len(), BATCH);
        reports.push(failed(1));
        reports.put_back(batch);
        let again = reports.take();
        assert_eq!(again[0], plugged(0));
        assert!(!again.contains(&plugged(1)), "overtaken");
        assert_eq!(again.len() + reports.take().len() + reports.take().len(), 600);
    }
}
