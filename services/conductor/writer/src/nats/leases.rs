//! Leases: a host asks to keep running things, every conductor answers for itself, and a host that asks no more is lost. Renewals
//! are not in the log, only HostLost and HostReturned are.

use super::{Link, pause};
use crate::{Conductor, now};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use strata_conductor::decide::host::{LoseHost, ReturnHost};
use strata_conductor::{Command, Context};
use strata_events::{Actor, HostName, Timestamp};
use strata_projections::report::{Lease, LeaseRequest, Role};

/// How long a lease holds, from when the host asked.
pub const LEASE_MILLIS: u64 = 10_000;
/// When a host that asks no more counts as lost: its lease has run out by then, whatever was late.
pub const LOST_AFTER: Duration = Duration::from_millis(LEASE_MILLIS + 5_000);
/// How often it is looked who is lost.
const LOOK: Duration = Duration::from_secs(1);

/// What was last heard of a host.
#[derive(Default)]
struct Seen {
    by_role: HashMap<Role, (Instant, Timestamp)>,
    /// When HostReturned was last asked for: the log needs a moment.
    returned: Option<Instant>,
}

impl Seen {
    /// When all of the host was last there: a server needs its compute worker and its network worker.
    fn whole(&self) -> Option<(Instant, Timestamp)> {
        let of = |role| self.by_role.get(&role).copied();
        let halves = of(Role::Compute).zip(of(Role::Network)).map(|(c, n)| if c.0 < n.0 { c } else { n });
        of(Role::All).into_iter().chain(halves).max_by_key(|(at, _)| *at)
    }
    fn is_whole(&self) -> bool {
        self.whole().is_some_and(|(at, _)| at.elapsed() < LOST_AFTER)
    }
}

pub(super) async fn run(link: &Link, conductor: &Conductor) {
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        // Not in a group: every replica must know who is there.
        match link.client.subscribe("report.*.lease").await {
            Ok(messages) => {
                failures = 0;
                listen(link, conductor, messages).await;
            }
            Err(error) => tracing::warn!(%error, "can't listen for leases"),
        }
        failures += 1;
        pause(failures, &mut connected).await;
    }
}

async fn listen(link: &Link, conductor: &Conductor, mut messages: async_nats::Subscriber) {
    let answer: bytes::Bytes =
        serde_json::to_vec(&Lease { millis: LEASE_MILLIS }).unwrap_or_else(|e| unreachable!("plain data: {e}")).into();
    let mut seen: HashMap<HostName, Seen> = HashMap::new();
    // Nobody is lost because this replica was not listening.
    let mut listening_since = Instant::now();
    let mut connected = link.connected.clone();
    let mut look = tokio::time::interval(LOOK);
    let mut looked = Instant::now();
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return };
                let host = HostName::from(message.subject.split('.').nth(1).unwrap_or_default());
                let cloud = conductor.latest();
                let Some(known) = cloud.hosts.get(&host).filter(|h| !h.forced_down) else { continue };
                if let Some(reply) = message.reply {
                    let _ = link.client.publish(reply, answer.clone()).await;
                }
                // What can't be read is of a worker that knows no roles.
                let role = serde_json::from_slice::<LeaseRequest>(&message.payload).map(|r| r.role).unwrap_or_default();
                let entry = seen.entry(host.clone()).or_default();
                entry.by_role.insert(role, (Instant::now(), now()));
                if !known.up && entry.is_whole() && entry.returned.is_none_or(|at| at.elapsed() > LOOK) {
                    entry.returned = Some(Instant::now());
                    say(conductor, ReturnHost { host });
                }
            }
            _ = connected.changed() => listening_since = Instant::now(),
            _ = look.tick() => {
                // This process itself may have stood still.
                if looked.elapsed() > LOOK * 3 {
                    listening_since = Instant::now();
                }
                looked = Instant::now();
                if link.client.connection_state() != async_nats::connection::State::Connected {
                    listening_since = Instant::now();
                    continue;
                }
                let cloud = conductor.latest();
                seen.retain(|host, _| cloud.hosts.contains(host));
                for host in cloud.hosts.values().filter(|h| h.up) {
                    let last = seen.get(&host.name).and_then(Seen::whole);
                    let silent = last.map_or(listening_since, |(at, _)| at.max(listening_since)).elapsed();
                    if silent > LOST_AFTER {
                        let last_seen = last.map_or(host.updated_at, |(_, time)| time);
                        tracing::warn!(host = %host.name, "has not renewed its lease: it is lost");
                        say(conductor, LoseHost { host: host.name.clone(), last_seen });
                    }
                }
            }
        }
    }
}

/// In the background: a lease is not kept waiting by the log. What fails is asked for again at the next look.
fn say(conductor: &Conductor, command: impl Command) {
    let conductor = conductor.clone();
    let request_id = format!("req-{}", crate::reactions::uuid_v4());
    let ctx = Context { now: now(), actor: Actor::service("conductor"), request_id, caused_by: None };
    tokio::spawn(async move {
        let what = format!("{command:?}");
        if let Err(failure) = conductor.run(ctx, command).await {
            tracing::warn!(what, %failure, "will be asked again");
        }
    });
}
