//! What a host's observation means. An observation states what is; what follows depends on what the log says should be. Said
//! twice, late or by the wrong host it changes nothing: every rule first asks whether the thing is this host's, in this
//! generation, and whether the observation knows of the latest that was asked.

use super::instance::{gone, released};
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::host::{HostEvent, Inventory};
use strata_events::instance::{InstanceEvent, Operation, Power};
use strata_events::port::PortEvent;
use strata_events::{Event, HostName, InstanceId, PortId};
use strata_projections::Cloud;
use strata_projections::cloud::host::Host;
use strata_projections::cloud::instance::{Instance, State, Task, Wanted};
use strata_projections::cloud::port::Plug;
use strata_projections::report::Report;

/// The longest reason that is taken from a host, in characters: it ends up in an event and before a user.
const REASON: usize = 1000;

/// Takes in one observation of a host, whose name comes from its credentials.
#[derive(Debug, Clone)]
pub struct Observe {
    pub host: HostName,
    pub report: Report,
}

impl Command for Observe {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let host = cloud.hosts.get(&self.host).ok_or_else(|| Refusal::not_found("Compute host", &self.host))?;
        Ok(match &self.report {
            Report::Instance { id, generation, power, reboots, asks } => match here(cloud, host, id, *generation) {
                Some(instance) => observed(instance, host, *power, *reboots, *asks),
                None => vec![],
            },
            Report::InstanceAbsent { id, generation } => match here(cloud, host, id, *generation) {
                Some(instance) if instance.deleting => gone(cloud, instance),
                Some(instance) if instance.wanted == Wanted::Absent && instance.task.is_none() => released(cloud, instance),
                _ => vec![],
            },
            Report::InstanceFailed { id, generation, asks, reason, power } => match here(cloud, host, id, *generation) {
                Some(instance) => failed(instance, *asks, reason, *power),
                None => vec![],
            },
            Report::PortPlugged { id } => match bound(cloud, host, id) {
                Some(Plug::Plugged) | None => vec![],
                Some(_) => events![PortEvent::PortPlugged { id: *id, host: host.name.clone() }],
            },
            Report::PortFailed { id, reason } => port_failed(cloud, host, id, reason),
            Report::PortAbsent { id } if cloud.ports.is_remnant(&host.name, id) => {
                events![PortEvent::PortUnplugged { id: *id, host: host.name.clone() }]
            }
            Report::PortAbsent { .. } => vec![],
            Report::Inventory { inventory } => has(host, inventory),
        })
    }
}

/// The instance, if it is this host's in this generation.
fn here<'a>(cloud: &'a Cloud, host: &Host, id: &InstanceId, generation: u32) -> Option<&'a Instance> {
    let instance = cloud.instances.get(id)?;
    (instance.host.as_ref() == Some(&host.name) && instance.generation == generation).then_some(&**instance)
}

fn observed(i: &Instance, host: &Host, power: Power, reboots: u32, asks: u32) -> Vec<Event> {
    let id = i.id;
    let seen = || InstanceEvent::InstancePowerObserved { id, power };
    if asks < i.asks {
        return vec![];
    }
    match i.task {
        Some(Task::Schedule | Task::Operation(Operation::Delete)) => vec![],
        Some(Task::Spawn) => {
            let started = InstanceEvent::InstanceStarted { id, host: host.name.clone(), generation: i.generation };
            // It may have run and ended before anyone could say so.
            if power == Power::Running { events![started] } else { events![started, seen()] }
        }
        Some(Task::Operation(operation)) if fulfils(operation, power, reboots >= i.reboots) => {
            events![InstanceEvent::InstanceOperationDone { id, operation }]
        }
        Some(Task::Operation(operation)) => {
            let reason = format!("The host did what was asked, but the server is {} now.", word(power));
            let failed = InstanceEvent::InstanceOperationFailed { id, operation, reason };
            if i.power == Some(power) { events![failed] } else { events![failed, seen()] }
        }
        None if i.wanted == Wanted::Absent => vec![],
        None if i.power != Some(power) || (i.state != state(power) && i.state != State::Error) => events![seen()],
        None => vec![],
    }
}

fn fulfils(operation: Operation, power: Power, rebooted: bool) -> bool {
    match operation {
        Operation::Start | Operation::Unpause | Operation::Resume => power == Power::Running,
        Operation::RebootSoft | Operation::RebootHard => power == Power::Running && rebooted,
        Operation::Stop => matches!(power, Power::Stopped | Power::Crashed),
        Operation::Pause => power == Power::Paused,
        Operation::Suspend => power == Power::Suspended,
        Operation::Delete => false,
    }
}

fn state(power: Power) -> State {
    match power {
        Power::Running => State::Active,
        Power::Paused => State::Paused,
        Power::Suspended => State::Suspended,
        Power::Stopped | Power::Crashed => State::Stopped,
    }
}

fn word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Paused => "paused",
        Power::Stopped => "stopped",
        Power::Suspended => "suspended",
        Power::Crashed => "crashed",
    }
}

fn failed(i: &Instance, asks: u32, reason: &str, power: Option<Power>) -> Vec<Event> {
    let (id, reason) = (i.id, reason.chars().take(REASON).collect());
    let seen = power.filter(|p| i.power != Some(*p)).map(|power| InstanceEvent::InstancePowerObserved { id, power }.into());
    match i.task {
        Some(Task::Spawn) => events![InstanceEvent::InstanceBuildFailed { id, reason }],
        Some(Task::Operation(operation)) if asks == i.asks => {
            let mut events = events![InstanceEvent::InstanceOperationFailed { id, operation, reason }];
            events.extend(seen.filter(|_| operation != Operation::Delete));
            events
        }
        // It was given up before its host said so: it is not what it was before.
        None if asks == i.asks && i.wanted != Wanted::Absent => seen.into_iter().collect(),
        _ => vec![],
    }
}

/// How far the port is on this host; none if it is not bound here.
fn bound<'a>(cloud: &'a Cloud, host: &Host, id: &PortId) -> Option<&'a Plug> {
    cloud.ports.get(id)?.binding.as_ref().filter(|b| b.host == host.name).map(|b| &b.plug)
}

fn port_failed(cloud: &Cloud, host: &Host, id: &PortId, reason: &str) -> Vec<Event> {
    let reason: String = reason.chars().take(REASON).collect();
    match bound(cloud, host, id) {
        None => return vec![],
        Some(Plug::Failed(known)) if *known == reason => return vec![],
        Some(_) => {}
    }
    let mut events = events![PortEvent::PortPlugFailed { id: *id, host: host.name.clone(), reason: reason.clone() }];
    // What waits for the port can't be built.
    let server = cloud.instances.holding(id);
    if let Some(waiting) = server.filter(|i| i.task == Some(Task::Spawn) && i.host.as_ref() == Some(&host.name)) {
        let reason = format!("Port {id} could not be made on host {}: {reason}", host.name);
        events.push(InstanceEvent::InstanceBuildFailed { id: waiting.id, reason }.into());
    }
    events
}

fn has(host: &Host, inventory: &Inventory) -> Vec<Event> {
    if host.inventory == *inventory {
        vec![]
    } else {
        events![HostEvent::HostInventoryChanged { id: host.name.clone(), inventory: inventory.clone() }]
    }
}

#[cfg(test)]
mod tests;
