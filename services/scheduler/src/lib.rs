//! The scheduler: which host gets which waiting server. Pure functions over `Cloud`; placement itself is decided under the
//! log's head, which asks the same filters again, so a stale or doubled answer does no harm.
//!
//! A host passes the filters ([`Wishes::why_not`]: enabled, zone, capacity, hints, groups) and is up; among those the
//! weighers choose: first what a group's soft policy prefers, then the most memory left (spread).

use std::collections::{BTreeMap, HashMap};
use strata_conductor::decide::instance::Wishes;
use strata_events::{HostName, InstanceId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::host::{Allocation, Host};
use strata_projections::cloud::instance::Instance;

/// How long a server waits for a host that would take it but is down just now, in seconds.
pub const PATIENCE_SECS: i64 = 60;

/// How many times more servers a pass looks at than it decides on: it is bounded, however many wait.
const LOOK_AHEAD: usize = 16;

/// What shall become of a waiting server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Place(HostName),
    /// A host that is down would take it; there is still time.
    Wait,
    /// No host can take it: why, by host.
    Nowhere(BTreeMap<String, String>),
}

/// Decides for the servers that wait, the oldest first, at most so many. Each sees the ones before it as placed. Those that
/// must go on waiting are passed over, so that they don't hold up the ones behind them.
pub fn schedule(cloud: &Cloud, now: Timestamp, at_most: usize) -> Vec<(InstanceId, Verdict)> {
    if cloud.instances.unplaced().next().is_none() {
        // The usual case: most commits leave nothing to place.
        return vec![];
    }
    let mut fleet = Fleet::of(cloud);
    let looked_at = cloud.instances.unplaced().take(at_most.saturating_mul(LOOK_AHEAD));
    let verdicts = looked_at.map(|instance| (instance.id, fleet.choose(cloud, instance, now)));
    verdicts.filter(|(_, verdict)| *verdict != Verdict::Wait).take(at_most).collect()
}

/// The hosts, with what this pass has planned for them.
struct Fleet<'a> {
    hosts: Vec<(&'a Host, Allocation)>,
    planned: HashMap<InstanceId, HostName>,
}

impl<'a> Fleet<'a> {
    fn of(cloud: &'a Cloud) -> Self {
        Self { hosts: cloud.hosts.values().map(|h| (&**h, h.used)).collect(), planned: HashMap::new() }
    }

    fn choose(&mut self, cloud: &Cloud, instance: &Instance, now: Timestamp) -> Verdict {
        let wishes = Wishes::of(cloud, instance, &self.planned);
        let mut best: Option<(Weight, usize)> = None;
        let mut down = false;
        for (index, (host, used)) in self.hosts.iter().enumerate() {
            if wishes.why_not(host, *used).is_some() {
                continue;
            }
            if !host.up {
                down = true;
                continue;
            }
            let weight = Weight::of(&wishes, instance, host, *used);
            if best.as_ref().is_none_or(|(w, _)| weight > *w) {
                best = Some((weight, index));
            }
        }
        match best {
            Some((_, index)) => {
                let (host, used) = &mut self.hosts[index];
                *used = used.plus(wishes.size);
                self.planned.insert(instance.id, host.name.clone());
                Verdict::Place(host.name.clone())
            }
            None if down && now < instance.created_at.plus_secs(PATIENCE_SECS) => Verdict::Wait,
            None => Verdict::Nowhere(self.reasons(&wishes)),
        }
    }

    fn reasons(&self, wishes: &Wishes<'_>) -> BTreeMap<String, String> {
        let why = |host: &Host, used| wishes.why_not(host, used).unwrap_or_else(|| "is down: its lease ran out".into());
        self.hosts.iter().map(|(host, used)| (host.name.0.clone(), why(host, *used))).collect()
    }
}

/// How good a host is; the greatest wins. Compared field by field.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    preference: i64,
    /// MiB
    memory_left: u64,
    /// Hosts alike get servers in an order that differs by server, and is the same on every replica.
    lot: u64,
}

impl Weight {
    fn of(wishes: &Wishes<'_>, instance: &Instance, host: &Host, used: Allocation) -> Self {
        let lot = host.name.0.bytes().fold(instance.id.0.as_u128() as u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self { preference: wishes.preference(host), memory_left: host.inventory.memory.saturating_sub(used.memory), lot }
    }
}

#[cfg(test)]
mod tests;
