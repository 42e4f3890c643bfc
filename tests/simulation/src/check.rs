//! What must hold when all is quiet, whatever happened before. The numbers are those of the invariants in ARCHITECTURE.md.

use crate::Simulation;
use strata_events::Event;
use strata_projections::Cloud;
use strata_projections::cloud::host::Allocation;
use strata_projections::cloud::instance::{State, Wanted};
use strata_projections::plan;

impl Simulation {
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut folded = Cloud::default();
        for (i, recorded) in self.log.iter().enumerate() {
            if recorded.position != i as u64 + 1 {
                return Err(format!("1: position {} stands at {}", recorded.position, i + 1));
            }
            folded.apply(recorded).map_err(|e| format!("1: {e}"))?;
        }
        for replica in &self.replicas {
            if replica.cloud.digest() != folded.digest() {
                return Err("2: a replica's state is not the fold of the log".into());
            }
        }
        let planned: std::collections::BTreeMap<_, _> = self.plans.iter().map(|(k, p)| (k.clone(), p.item.clone())).collect();
        if planned != plan::all(&folded) {
            return Err("2: the plans are not the projection of the state".into());
        }
        self.allocations(&folded)?;
        self.answered(&folded)?;
        self.hosts_match(&folded)
    }

    fn allocations(&self, cloud: &Cloud) -> Result<(), String> {
        for host in cloud.hosts.values() {
            let sum = cloud.instances.on_host(&host.name).fold(Allocation::default(), |sum, i| sum.plus(Allocation::of(&i.spec.size)));
            if sum != host.used {
                return Err(format!("4: {} has {:?} allocated, but its servers amount to {sum:?}", host.name, host.used));
            }
            if host.lacks(Allocation::default()).is_some() {
                return Err(format!("4: {} is over its capacity: {:?}", host.name, host.used));
            }
        }
        Ok(())
    }

    /// Invariants 7 and 9: what was answered is there, and nothing is in between.
    fn answered(&self, cloud: &Cloud) -> Result<(), String> {
        let ever = |id| self.log.iter().any(|r| matches!(&r.event, Event::Instance(e) if e.stream_id() == format!("{id}")));
        for id in &self.accepted {
            if !ever(id) {
                return Err(format!("9: the request for server {id} was answered and is not in the log"));
            }
        }
        for id in &self.deleted {
            if let Some(instance) = cloud.instances.get(id) {
                return Err(format!(
                    "7: server {id} was to be deleted and is {:?} with task {:?}, fault {:?}",
                    instance.state, instance.task, instance.fault
                ));
            }
        }
        for instance in cloud.instances.values() {
            if instance.task.is_some() || instance.state == State::Building {
                return Err(format!("7: server {} is still {:?} with task {:?}", instance.id, instance.state, instance.task));
            }
        }
        Ok(())
    }

    /// Invariants 2 and 6: each host has what is placed there, in the state that is known, and nothing else.
    fn hosts_match(&self, cloud: &Cloud) -> Result<(), String> {
        for (name, host) in &self.hosts {
            for (id, domain) in &host.domains {
                let Some(instance) = cloud.instances.get(id).filter(|i| i.host.as_ref() == Some(name)) else {
                    return Err(format!("2: a domain of {id} is left on {name}"));
                };
                if domain.generation != instance.generation {
                    return Err(format!("6: {id} runs in generation {} on {name}, not {}", domain.generation, instance.generation));
                }
                if instance.power != Some(domain.power) && instance.state != State::Error {
                    return Err(format!(
                        "2: {id} on {name} is {:?}, but is known as {:?} ({:?})",
                        domain.power, instance.power, instance.state
                    ));
                }
            }
            for instance in cloud.instances.on_host(name) {
                if instance.wanted != Wanted::Absent && !host.domains.contains_key(&instance.id) {
                    return Err(format!("2: {} has no domain on {name}", instance.id));
                }
            }
            for id in host.plugged.keys() {
                if cloud.ports.get(id).is_none_or(|p| p.binding.as_ref().is_none_or(|b| b.host != *name)) {
                    return Err(format!("2: port {id} is left on {name}"));
                }
            }
            if let Some(left) = cloud.ports.remnants_on(name).next() {
                return Err(format!("2: port {left} was never reported unplugged by {name}"));
            }
        }
        Ok(())
    }
}
