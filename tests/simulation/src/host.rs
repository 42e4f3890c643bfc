//! A host: domains and ports that outlive its worker, and a worker that may crash between any two steps.

use crate::{Message, Simulation};
use std::collections::BTreeMap;
use strata_compute::{Action, Applied, Domain};
use strata_events::instance::Power;
use strata_events::{HostName, InstanceId, PortId};
use strata_network::Found;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;
use strata_projections::plan::port::{PlannedPlug, PortPlan};
use strata_projections::plan::{Item, Key};
use strata_projections::report::Report;

/// What is on a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Host {
    pub domains: BTreeMap<InstanceId, Domain>,
    pub plugged: BTreeMap<PortId, PlannedPlug>,
    /// What the worker remembers: the newest generation planned here. Lost when it crashes.
    newest: BTreeMap<InstanceId, u32>,
}

impl Host {
    pub(crate) fn crash(&mut self) {
        self.newest.clear();
    }

    fn perform(&mut self, plan: &InstancePlan, action: Action) {
        let power = |domains: &mut BTreeMap<InstanceId, Domain>, power| {
            if let Some(domain) = domains.get_mut(&plan.id) {
                domain.power = power;
            }
        };
        match action {
            Action::Define => {
                let (generation, nics) = (plan.generation, Some(strata_compute::taps(plan)));
                let domain = Domain { id: plan.id, generation, power: Power::Stopped, applied: None, nics };
                self.domains.insert(plan.id, domain);
            }
            Action::Wire => {
                if let Some(domain) = self.domains.get_mut(&plan.id) {
                    domain.nics = Some(strata_compute::taps(plan));
                }
            }
            Action::Start | Action::Unpause | Action::Resume | Action::Reboot { .. } => power(&mut self.domains, Power::Running),
            Action::Shutdown | Action::PowerOff => power(&mut self.domains, Power::Stopped),
            Action::Pause => power(&mut self.domains, Power::Paused),
            Action::Suspend => power(&mut self.domains, Power::Suspended),
            Action::Mark(applied) => {
                if let Some(domain) = self.domains.get_mut(&plan.id) {
                    domain.applied = Some(applied);
                }
            }
            Action::Destroy => drop(self.domains.remove(&plan.id)),
        }
    }
}

impl Simulation {
    /// Compares everything that is planned for a host with what is there, as a worker does when it starts.
    pub(crate) fn settle_host(&mut self, host: &HostName) -> Result<(), String> {
        let keys: Vec<Key> = self.plans.keys().filter(|k| k.host() == host.0).cloned().collect();
        keys.iter().try_for_each(|key| self.settle_key(host, key))
    }

    pub(crate) fn settle_key(&mut self, host: &HostName, key: &Key) -> Result<(), String> {
        match self.plans.get(key).map(|p| p.item.clone()) {
            Some(Item::Instance(plan)) => self.settle_instance(host, &plan),
            Some(Item::Port(plan)) => {
                self.settle_port(host, &plan);
                Ok(())
            }
            Some(Item::Group(_)) | None => Ok(()), // a missing key means nothing
        }
    }

    fn settle_instance(&mut self, name: &HostName, plan: &InstancePlan) -> Result<(), String> {
        let Some(host) = self.hosts.get_mut(name) else { return Ok(()) };
        let newest = host.newest.entry(plan.id).or_insert(plan.generation);
        *newest = plan.generation.max(*newest);
        if *newest > plan.generation {
            return Ok(());
        }
        for action in strata_compute::converge(plan, host.domains.get(&plan.id), true) {
            if action.starts_something() && host.domains.get(&plan.id).is_some_and(|d| d.generation > plan.generation) {
                return Err(format!("{name} would start generation {} of {}, which is older than what it has", plan.generation, plan.id));
            }
            host.perform(plan, action);
            if self.faults && self.random.one_in(20) {
                host.crash();
                return Ok(()); // after the effect, before the report
            }
        }
        let report = match host.domains.get(&plan.id) {
            None if plan.wanted == Wanted::Absent => Some(Report::InstanceAbsent { id: plan.id, generation: plan.generation }),
            None => None,
            Some(domain) => {
                domain.applied.filter(|a| a.asks == plan.asks && domain.generation == plan.generation).map(|Applied { reboots, asks }| {
                    Report::Instance { id: plan.id, generation: plan.generation, power: domain.power, reboots, asks }
                })
            }
        };
        if let Some(report) = report {
            self.send(Message::Report(name.clone(), report));
        }
        Ok(())
    }

    fn settle_port(&mut self, name: &HostName, plan: &PortPlan) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let found = host.plugged.get(&plan.id).map_or(Found::Nothing, |plug| Found::Whole(Box::new(plug.clone())));
        let action = strata_network::converge(plan, &found, true);
        match (action, &plan.plug) {
            (Some(strata_network::Action::Plug | strata_network::Action::Update), Some(plug)) => {
                drop(host.plugged.insert(plan.id, plug.clone()))
            }
            (Some(strata_network::Action::Unplug), _) => drop(host.plugged.remove(&plan.id)),
            _ => {}
        }
        if self.faults && self.random.one_in(20) {
            host.crash();
            return;
        }
        let report = if plan.plug.is_some() { Report::PortPlugged { id: plan.id } } else { Report::PortAbsent { id: plan.id } };
        self.send(Message::Report(name.clone(), report));
    }

    /// Something happens to a guest by itself.
    pub(crate) fn mishap(&mut self, name: &HostName) {
        let n = self.random.draw() as usize;
        let Some(host) = self.hosts.get_mut(name) else { return };
        let len = host.domains.len().max(1);
        if let Some(domain) = host.domains.values_mut().nth(n % len).filter(|d| d.power == Power::Running) {
            domain.power = Power::Stopped;
        }
    }
}
