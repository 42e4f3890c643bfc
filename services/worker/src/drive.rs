//! What to look at when. Each planned thing has a slot; a change of its plan, of the lease or of the thing itself makes the slot
//! due; at most one look at a thing runs at a time, and a bounded number in all. What could not be finished is looked at
//! again later and later, to at most 5 s: whatever is mended meanwhile, and whatever lasts, is seen within half a minute.

use crate::WorkerOptions;
use crate::half::{Half, Looked, Thing};
use crate::lease::Lease;
use crate::link::jitter;
use crate::plans::Change;
use crate::reports::{Reports, Strays};
use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture, join_all, select_all};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::Item;
use strata_projections::plan::instance::InstancePlan;
use strata_projections::plan::port::PortPlan;
use strata_projections::report::Report;
use tokio::sync::mpsc;
use tokio::time::Instant;

struct Slot {
    half: Arc<dyn Half>,
    item: Arc<Item>,
    position: u64,
    running: bool,
    /// Something changed since the last look began.
    due: bool,
    /// The last look left something to do.
    unfinished: bool,
    failures: u32,
    /// When it is looked at again; what else `later` says of it is from before something happened.
    retry: Option<Instant>,
}

struct Drive {
    halves: Vec<Arc<dyn Half>>,
    lease: Arc<dyn Fn() -> bool + Send + Sync>,
    slots: HashMap<Thing, Slot>,
    queue: VecDeque<Thing>,
    running: tokio::task::JoinSet<Looked>,
    later: BinaryHeap<Reverse<(Instant, Thing)>>,
    at_once: usize,
}

/// Runs for ever.
pub(crate) async fn drive(
    halves: Vec<Arc<dyn Half>>,
    options: &WorkerOptions,
    mut plan: mpsc::Receiver<Change>,
    mut strays: mpsc::Receiver<Strays>,
    reports: &Reports,
    lease: &Lease,
) {
    let mut renewed = lease.watch();
    let holds = {
        let until = lease.watch();
        Arc::new(move || until.borrow().is_some_and(|until| Instant::now() < until))
    };
    let mut held = lease.holds();
    let mut drive = Drive {
        halves: halves.clone(),
        lease: holds,
        slots: HashMap::new(),
        queue: VecDeque::new(),
        running: tokio::task::JoinSet::new(),
        later: BinaryHeap::new(),
        at_once: options.at_once,
    };
    let mut inventory = None;
    let mut counting = std::pin::pin!(Fuse::terminated());
    let mut inventory_due = tokio::time::interval(Duration::from_secs(60));
    loop {
        drive.start();
        let wake = drive.later.peek().map(|Reverse((at, _))| *at);
        tokio::select! {
            change = plan.recv() => match change {
                Some(change) => drive.planned(change),
                None => return,
            },
            Some((position, things)) = strays.recv() => things.into_iter().for_each(|thing| drive.stray(thing, position)),
            Some(looked) = drive.running.join_next() => match looked {
                Ok(looked) => {
                    if let Some(report) = drive.looked(looked) {
                        reports.push(report);
                    }
                }
                // Nothing ends a look from outside, and one that panics has an answer for it.
                Err(e) => tracing::error!(error = %e, "a look at a thing broke off"),
            },
            (thing, half, _) = select_all(halves.iter().map(|h| h.changed())) => drive.happened(thing, &*halves[half]),
            _ = renewed.changed() => {
                let before = std::mem::replace(&mut held, lease.holds());
                if held && !before {
                    drive.unfinished();
                }
            }
            () = async { match wake { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {
                held = lease.holds();
                drive.overdue();
            }
            // Beside the rest: a hypervisor that hangs takes its time to say so.
            _ = inventory_due.tick(), if counting.is_terminated() => {
                counting.set(join_all(halves.iter().map(|h| h.inventory())).fuse());
            }
            counted = &mut counting => match counted.into_iter().flatten().next() {
                Some(now) if inventory.as_ref() != Some(&now) => {
                    reports.push(Report::Inventory { inventory: now.clone() });
                    inventory = Some(now);
                }
                Some(_) => {}
                // A hypervisor that was not there yet.
                None => inventory_due.reset_after(Duration::from_secs(5)),
            },
        }
    }
}

impl Drive {
    fn planned(&mut self, Change { key, plan }: Change) {
        let thing = Thing::of(&plan.item);
        let Some(half) = self.halves.iter().find(|h| h.minds(&thing)).cloned() else { return };
        match self.slots.get_mut(&thing) {
            Some(slot) if plan.position < slot.position => {
                tracing::debug!(key = key.0, at = plan.position, known = slot.position, "an older plan came late");
            }
            // The same again, from a resync: what it led to was done, or is being tried.
            Some(slot) if *slot.item == plan.item => slot.position = plan.position,
            Some(slot) => {
                slot.item = Arc::new(plan.item);
                slot.position = plan.position;
                slot.failures = 0;
                self.due(thing);
            }
            None => {
                let slot = Slot {
                    item: Arc::new(plan.item),
                    position: plan.position,
                    half,
                    running: false,
                    due: false,
                    unfinished: false,
                    failures: 0,
                    retry: None,
                };
                self.slots.insert(thing, slot);
                self.due(thing);
            }
        }
    }

    /// The conductor says that a thing is not this host's. It knows more than the plan that had it made, unless that is newer.
    fn stray(&mut self, thing: Thing, position: u64) {
        if let Some(slot) = self.slots.get_mut(&thing)
            && slot.position <= position
        {
            slot.item = Arc::new(match &*slot.item {
                Item::Instance(plan) => Item::Instance(Box::new(InstancePlan { wanted: Wanted::Absent, ..(**plan).clone() })),
                Item::Port(plan) => Item::Port(Box::new(PortPlan { id: plan.id, plug: None })),
                Item::Group(_) => return,
            });
            slot.position = position;
            slot.failures = 0;
            self.due(thing);
        }
    }

    fn due(&mut self, thing: Thing) {
        if let Some(slot) = self.slots.get_mut(&thing)
            && !std::mem::replace(&mut slot.due, true)
            && !slot.running
        {
            self.queue.push_back(thing);
        }
    }

    fn happened(&mut self, thing: Option<Thing>, half: &dyn Half) {
        match thing {
            Some(thing) => self.due(thing),
            None => self.slots.keys().copied().filter(|t| half.minds(t)).collect::<Vec<_>>().into_iter().for_each(|t| self.due(t)),
        }
    }

    fn unfinished(&mut self) {
        let waiting: Vec<Thing> = self.slots.iter().filter(|(_, s)| s.unfinished).map(|(t, _)| *t).collect();
        waiting.into_iter().for_each(|t| self.due(t));
    }

    fn overdue(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, thing))) = self.later.peek().copied()
            && at <= now
        {
            self.later.pop();
            if let Some(slot) = self.slots.get_mut(&thing)
                && slot.retry == Some(at)
            {
                slot.retry = None;
                self.due(thing);
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < self.at_once
            && let Some(thing) = self.queue.pop_front()
        {
            let Some(slot) = self.slots.get_mut(&thing) else { continue };
            slot.running = true;
            slot.due = false;
            let (half, item, lease) = (slot.half.clone(), slot.item.clone(), self.lease.clone());
            slot.retry = None;
            self.running.spawn(async move {
                // A look that panics is one that came to nothing: its thing is looked at again, and the others go on.
                let looked = AssertUnwindSafe(half.settle(&item, &*lease)).catch_unwind().await;
                looked.unwrap_or_else(|_| {
                    tracing::error!(?thing, "a look at a thing broke off");
                    Looked { thing, report: None, again: true, gone: false }
                })
            });
        }
    }

    fn looked(&mut self, looked: Looked) -> Option<Report> {
        let Looked { thing, report, again, gone } = looked;
        let slot = self.slots.get_mut(&thing)?;
        slot.running = false;
        slot.unfinished = again;
        if slot.due {
            self.queue.push_back(thing);
        } else if gone {
            self.slots.remove(&thing);
        } else if again {
            slot.failures += 1;
            let most = (100u64 << slot.failures.min(7)).min(5_000);
            let at = Instant::now() + Duration::from_millis(most / 2 + jitter(most / 2));
            slot.retry = Some(at);
            self.later.push(Reverse((at, thing)));
        } else {
            slot.failures = 0;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::BoxFuture;
    use std::sync::atomic::{AtomicU32, Ordering};
    use strata_events::PortId;
    use strata_events::host::Inventory;
    use strata_projections::plan::{Key, Plan};
    use tokio::sync::Notify;

    /// Never done with anything; every tenth look panics.
    #[derive(Default)]
    struct Endless {
        looks: AtomicU32,
        happens: Notify,
    }
    impl Half for Endless {
        fn minds(&self, _: &Thing) -> bool {
            true
        }
        fn settle<'a>(&'a self, item: &'a Item, _: &'a (dyn Fn() -> bool + Send + Sync)) -> BoxFuture<'a, Looked> {
            async move {
                assert!(self.looks.fetch_add(1, Ordering::Relaxed) % 10 != 9, "as it should now and then");
                Looked { thing: Thing::of(item), report: None, again: true, gone: false }
            }
            .boxed()
        }
        fn changed(&self) -> BoxFuture<'_, Option<Thing>> {
            self.happens.notified().map(|()| None).boxed()
        }
        fn inventory(&self) -> BoxFuture<'_, Option<Inventory>> {
            futures_util::future::ready(None).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_done_is_looked_at_ever_more_slowly_whatever_happens_and_whatever_breaks_off() {
        let half = Arc::new(Endless::default());
        let (changes, plan) = mpsc::channel(1);
        let (_strays, strays) = mpsc::channel(1);
        let port = Item::Port(Box::new(PortPlan { id: PortId(uuid::Uuid::nil()), plug: None }));
        let change = Change { key: Key("port".into()), plan: Plan { position: 1, item: port } };
        let (reports, lease, options) = (Reports::default(), Lease::default(), WorkerOptions::default());
        let watch = async {
            assert!(changes.send(change).await.is_ok(), "it is read");
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                half.happens.notify_one();
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            let before = half.looks.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(100)).await;
            half.looks.load(Ordering::Relaxed) - before
        };
        let looks = tokio::select! {
            looks = watch => looks,
            () = drive(vec![half.clone()], &options, plan, strays, &reports, &lease) => unreachable!("it runs for ever"),
        };
        assert!((19..=42).contains(&looks), "one every 2.5 to 5 s, not {looks} in 100 s");
    }
}
