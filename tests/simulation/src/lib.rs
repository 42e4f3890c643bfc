//! The whole control plane in one thread: an in-memory log, stream and hosts, and a seeded adversary that reorders, loses and
//! repeats messages, wipes the plans and crashes everything at every step. What decides, schedules, plans and converges is
//! the product's own pure code; only the rim is replaced.
//!
//! A run is a function of its seed. It fails with the seed and what did not hold (see `check`).

mod check;
mod host;
mod random;
mod replica;
mod user;

pub use random::Random;

use host::Host;
use replica::Replica;
use std::collections::{BTreeMap, BTreeSet};
use strata_conductor::{Command, Context, Refusal};
use strata_events::{Actor, HostName, InstanceId, Recorded, Timestamp};
use strata_projections::Cloud;
use strata_projections::plan::{Key, Plan};
use strata_projections::report::Report;

/// What is under way between the parts. Any of it may come late, twice or never.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Something was committed: a hint to a replica.
    Hint(usize),
    /// A plan changed: to the host that watches it.
    Planned(HostName, Key),
    /// An observation, to whichever replica takes it.
    Report(HostName, Report),
}

/// One run.
pub struct Simulation {
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<Recorded>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) plans: BTreeMap<Key, Plan>,
    pub(crate) hosts: BTreeMap<HostName, Host>,
    pub(crate) messages: Vec<Message>,
    /// Servers whose request was answered, and those whose deletion was.
    pub(crate) accepted: BTreeSet<InstanceId>,
    pub(crate) deleted: BTreeSet<InstanceId>,
    pub(crate) next_id: u128,
    /// While true the adversary acts.
    pub(crate) faults: bool,
}

/// How many messages may be under way; the oldest are lost beyond (every queue is bounded).
const UNDER_WAY: usize = 4096;

impl Simulation {
    pub fn new(seed: u64) -> Self {
        let mut simulation = Self {
            random: Random::new(seed),
            now: Timestamp(1_790_000_000_000_000),
            log: vec![],
            replicas: (0..2).map(|_| Replica::default()).collect(),
            plans: BTreeMap::new(),
            hosts: BTreeMap::new(),
            messages: vec![],
            accepted: BTreeSet::new(),
            deleted: BTreeSet::new(),
            next_id: 1,
            faults: false,
        };
        simulation.ground();
        simulation
    }

    /// So many steps with faults, then quiet until nothing changes, then everything that must hold.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        self.faults = true;
        for _ in 0..steps {
            self.step()?;
        }
        self.faults = false;
        self.settle()?;
        self.check()
    }

    /// The whole log of a run.
    pub fn log(&self) -> &[Recorded] {
        &self.log
    }

    /// How often each type of event stands in the log: what a run has exercised.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for recorded in &self.log {
            *counts.entry(recorded.event.type_name()).or_insert(0) += 1;
        }
        counts
    }

    fn step(&mut self) -> Result<(), String> {
        self.now = Timestamp(self.now.0 + self.random.below(50_000) as i64);
        match self.random.below(100) {
            0..15 => self.user(),
            15..70 => self.deliver(),
            70..76 => self.each_replica(Self::schedule),
            76..80 => self.each_replica(Self::sweep),
            80..88 => self.each_replica(Self::publish),
            88..94 => {
                let host = self.some_host();
                self.settle_host(&host)
            }
            94..97 => {
                let host = self.some_host();
                if let Some(h) = self.hosts.get_mut(&host) {
                    h.crash();
                }
                Ok(())
            }
            97..98 => {
                let replica = self.random.index(self.replicas.len());
                self.replicas[replica] = Replica::default();
                Ok(())
            }
            98..99 => {
                // The stream's store is wiped; half of the time a stale replica is quicker to refill it.
                self.plans.clear();
                Ok(())
            }
            _ => {
                self.now = self.now.plus_secs(self.random.below(30) as i64);
                Ok(())
            }
        }
    }

    /// One replica, chosen by chance, does something.
    fn each_replica(&mut self, what: fn(&mut Self, usize) -> Result<(), String>) -> Result<(), String> {
        let replica = self.random.index(self.replicas.len());
        what(self, replica)
    }

    fn some_host(&mut self) -> HostName {
        let n = self.random.index(self.hosts.len());
        self.hosts.keys().nth(n).cloned().unwrap_or_else(|| HostName(String::new()))
    }

    /// Without faults: everyone does their work until a whole round changes nothing.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            let before = (self.log.len(), self.plans.clone(), self.hosts.clone());
            for replica in 0..self.replicas.len() {
                self.sweep(replica)?;
                self.schedule(replica)?;
                self.publish(replica)?;
            }
            for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
                self.settle_host(&host)?;
            }
            while !self.messages.is_empty() {
                self.deliver()?;
            }
            // Five seconds a round: what is stuck until its deadline shows as such.
            self.now = self.now.plus_secs(5);
            if before == (self.log.len(), self.plans.clone(), self.hosts.clone()) && self.in_transit() == 0 {
                return Ok(());
            }
        }
        Err(format!("after 200 quiet rounds there is still work: {} servers in transit", self.in_transit()))
    }

    fn in_transit(&self) -> usize {
        self.cloud().instances.in_transit().count()
    }

    /// The state at the log's head.
    pub(crate) fn cloud(&self) -> Cloud {
        let newest = self.replicas.iter().map(|r| &r.cloud).max_by_key(|c| c.position);
        let mut cloud = newest.cloned().unwrap_or_default();
        for recorded in &self.log[cloud.position as usize..] {
            if let Err(e) = cloud.apply(recorded) {
                panic!("{e}");
            }
        }
        cloud
    }

    /// Takes one message, any of them, and sometimes loses or repeats it.
    fn deliver(&mut self) -> Result<(), String> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let message = self.messages.swap_remove(self.random.index(self.messages.len()));
        if self.faults {
            match self.random.below(20) {
                0 | 1 => return Ok(()),
                2 => self.send(message.clone()),
                _ => {}
            }
        }
        match message {
            Message::Hint(replica) => {
                self.catch_up(replica)?;
                self.publish(replica)?;
                self.schedule(replica)
            }
            Message::Planned(host, key) => self.settle_key(&host, &key),
            Message::Report(host, report) => {
                let replica = self.random.index(self.replicas.len());
                let command = strata_conductor::decide::report::Observe { host: host.clone(), report };
                self.commit(replica, Actor::Host { host }, &command).map(drop)
            }
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        if self.messages.len() == UNDER_WAY {
            self.messages.remove(0);
        }
        self.messages.push(message);
    }

    /// Decides and appends under the head, as the writer does. `None`: the replica crashed before it could answer.
    pub(crate) fn commit(&mut self, replica: usize, actor: Actor, command: &dyn Command) -> Result<Option<Result<(), Refusal>>, String> {
        if self.faults && self.random.one_in(60) {
            self.replicas[replica] = Replica::default();
            return Ok(None); // crashed before the append
        }
        self.catch_up(replica)?;
        let ctx = Context { now: self.now, actor, request_id: format!("req-{}", self.log.len()), caused_by: None };
        let events = match command.decide(&self.replicas[replica].cloud, &ctx) {
            Ok(events) => events,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let mut follow = vec![];
        for event in events {
            let cloud = &mut self.replicas[replica].cloud;
            let recorded = Recorded {
                position: cloud.position + 1,
                version: cloud.next_version(&event.stream()),
                recorded_at: self.now,
                actor: ctx.actor.clone(),
                request_id: ctx.request_id.clone(),
                caused_by: None,
                event,
            };
            cloud.apply(&recorded).map_err(|e| format!("{e}\nafter {command:?}"))?;
            self.log.push(recorded.clone());
            follow.extend(strata_conductor::react::react(&self.replicas[replica].cloud, &recorded));
        }
        if self.faults && self.random.one_in(60) {
            self.replicas[replica] = Replica::default();
            return Ok(None); // crashed after the append: it is durable, and nobody was told
        }
        for other in 0..self.replicas.len() {
            self.send(Message::Hint(other));
        }
        for command in follow {
            self.commit(replica, Actor::service("conductor"), &*command)?;
        }
        Ok(Some(Ok(())))
    }
}
