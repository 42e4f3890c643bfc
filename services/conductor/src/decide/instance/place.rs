//! Placement: where an instance shall run, checked under the log's head, so that no two schedulers overfill a host
//! (invariant 4); and what becomes of it when nobody acts in time (invariant 7).

use super::{Wishes, find};
use crate::{Command, Context, Decision, Refusal, events};
use std::collections::{BTreeMap, HashMap};
use strata_events::instance::{InstanceEvent, Operation};
use strata_events::port::PortEvent;
use strata_events::{HostName, InstanceId};
use strata_projections::Cloud;
use strata_projections::cloud::instance::Task;

/// Nova's words.
pub const NO_VALID_HOST: &str = "No valid host was found. There are not enough hosts available.";
/// The most hosts that a refusal names.
const HOSTS_TOLD: usize = 100;

/// Gives an instance to a host, with all its ports.
#[derive(Debug, Clone)]
pub struct PlaceInstance {
    pub id: InstanceId,
    pub host: HostName,
}

impl Command for PlaceInstance {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        if instance.host.as_ref() == Some(&self.host) {
            return Ok(vec![]);
        }
        if instance.task != Some(Task::Schedule) {
            return Err(Refusal::conflict(format!("Instance {} does not wait for a host any more.", self.id)));
        }
        let Some(host) = cloud.hosts.get(&self.host) else {
            return Err(Refusal::conflict(format!("Host {} is not known.", self.host)));
        };
        if !host.up {
            return Err(Refusal::conflict(format!("Host {} is down.", self.host)));
        }
        if let Some(why) = Wishes::of(cloud, instance, &HashMap::new()).why_not(host, host.used) {
            return Err(Refusal::conflict(format!("Host {} {why}.", self.host)));
        }
        let mut events =
            events![InstanceEvent::InstancePlaced { id: self.id, host: self.host.clone(), generation: instance.generation + 1 }];
        let live = instance.spec.ports.iter().filter(|id| cloud.ports.contains(id));
        events.extend(live.map(|id| PortEvent::PortBound { id: *id, host: self.host.clone() }.into()));
        Ok(events)
    }
}

/// Says that no host can have an instance, and why each can't.
#[derive(Debug, Clone)]
pub struct MarkUnplaceable {
    pub id: InstanceId,
    pub hosts: BTreeMap<String, String>,
}

impl Command for MarkUnplaceable {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if find(cloud, &self.id)?.task != Some(Task::Schedule) {
            return Ok(vec![]);
        }
        let hosts = self.hosts.iter().take(HOSTS_TOLD).map(|(h, why)| (h.clone(), why.clone())).collect();
        Ok(events![InstanceEvent::InstanceUnplaceable { id: self.id, reason: NO_VALID_HOST.into(), hosts }])
    }
}

/// Ends a transient state whose deadline has passed. Asked early, it changes nothing.
#[derive(Debug, Clone)]
pub struct ExpireInstance {
    pub id: InstanceId,
}

impl Command for ExpireInstance {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let Some(instance) = cloud.instances.get(&self.id) else { return Ok(vec![]) };
        if instance.deadline.is_none_or(|deadline| deadline > ctx.now) {
            return Ok(vec![]);
        }
        let host = instance.host.as_ref().map_or("no host", |h| h.0.as_str());
        Ok(match instance.task {
            None => vec![],
            Some(Task::Schedule) => {
                events![InstanceEvent::InstanceUnplaceable { id: self.id, reason: NO_VALID_HOST.into(), hosts: BTreeMap::new() }]
            }
            Some(Task::Spawn) => {
                let reason = format!("The host {host} did not report the server running in time.");
                events![InstanceEvent::InstanceBuildFailed { id: self.id, reason }]
            }
            Some(Task::Operation(operation)) => {
                let what = if operation == Operation::Delete { "that the server is gone" } else { "it done" };
                let reason = format!("The host {host} did not report {what} in time.");
                events![InstanceEvent::InstanceOperationFailed { id: self.id, operation, reason }]
            }
        })
    }
}
