//! A replica of the control plane: its copy of the state, which may lag, and the work that it does from it.

use crate::{Message, Simulation};
use std::collections::BTreeSet;
use strata_conductor::decide::instance::{MarkUnplaceable, PlaceInstance};
use strata_events::Actor;
use strata_projections::Cloud;
use strata_projections::plan::{self, Key, Plan};
use strata_scheduler::Verdict;

/// What a replica has in memory; a crash loses it, and it folds the log anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replica {
    pub cloud: Cloud,
}

impl Simulation {
    /// Folds what was appended meanwhile.
    pub(crate) fn catch_up(&mut self, replica: usize) -> Result<(), String> {
        let cloud = &mut self.replicas[replica].cloud;
        for recorded in &self.log[cloud.position as usize..] {
            cloud.apply(recorded).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Catches up, or (with faults) only as far as it happens to have read.
    fn look(&mut self, replica: usize) -> Result<(), String> {
        if !self.faults || self.random.one_in(2) { self.catch_up(replica) } else { Ok(()) }
    }

    pub(crate) fn schedule(&mut self, replica: usize) -> Result<(), String> {
        self.look(replica)?;
        for (id, verdict) in strata_scheduler::schedule(&self.replicas[replica].cloud, self.now, 100) {
            let actor = Actor::service("scheduler");
            match verdict {
                Verdict::Place(host) => drop(self.commit(replica, actor, &PlaceInstance { id, host })?),
                Verdict::Nowhere(hosts) => drop(self.commit(replica, actor, &MarkUnplaceable { id, hosts })?),
                Verdict::Wait => {}
            }
        }
        Ok(())
    }

    pub(crate) fn sweep(&mut self, replica: usize) -> Result<(), String> {
        self.look(replica)?;
        for command in strata_conductor::react::sweep(&self.replicas[replica].cloud, self.now) {
            self.commit(replica, Actor::service("conductor"), &*command)?;
        }
        Ok(())
    }

    /// Writes what differs; a key whose value is of a later position is left alone.
    pub(crate) fn publish(&mut self, replica: usize) -> Result<(), String> {
        self.look(replica)?;
        let cloud = &self.replicas[replica].cloud;
        let position = cloud.position;
        let wanted = plan::all(cloud);
        let keys: BTreeSet<Key> = wanted.keys().chain(self.plans.keys()).cloned().collect();
        for key in keys {
            if self.faults && self.random.one_in(200) {
                self.replicas[replica] = Replica::default();
                return Ok(()); // crashed half-way
            }
            let current = self.plans.get(&key);
            if current.is_some_and(|plan| plan.position > position) {
                continue;
            }
            match wanted.get(&key) {
                Some(item) if current.is_some_and(|plan| plan.item == *item) => {}
                Some(item) => {
                    self.plans.insert(key.clone(), Plan { position, item: item.clone() });
                    let host = strata_events::HostName(key.host().to_owned());
                    self.send(Message::Planned(host, key));
                }
                None => drop(self.plans.remove(&key)),
            }
        }
        Ok(())
    }
}
