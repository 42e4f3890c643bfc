//! What each event makes of an instance: the transitions of its state, and nothing else changes it (invariant 3).

use super::{ACTIONS_KEPT, Action, Fault, Instance, Lock, State, Step, Task, Usage, Wanted};
use crate::cloud::host::Allocation;
use crate::cloud::{CannotApply, Cloud, Stamp};
use std::sync::Arc;
use strata_events::Actor;
use strata_events::instance::{InstanceEvent, Operation, Power};

impl Instance {
    fn begin(&mut self, action: &str, stamp: &Stamp<'_>) {
        let (user, project) = match stamp.actor {
            Actor::User { user, project, .. } => (Some(*user), *project),
            _ => (None, None),
        };
        if self.actions.len() == ACTIONS_KEPT {
            self.actions.remove(1); // the creation is kept
        }
        self.actions.push(Arc::new(Action {
            request_id: stamp.request_id.into(),
            action: action.into(),
            user,
            project,
            start: stamp.at,
            updated: stamp.at,
            message: None,
            steps: vec![],
        }));
    }
    fn step(&mut self, name: &str, stamp: &Stamp<'_>) {
        let host = self.host.clone();
        if let Some(last) = self.actions.last_mut() {
            Arc::make_mut(last).steps.push(Step { name: name.into(), start: stamp.at, finish: None, result: None, host });
        }
    }
    fn finish(&mut self, error: Option<&str>, stamp: &Stamp<'_>) {
        if let Some(last) = self.actions.last_mut() {
            let action = Arc::make_mut(last);
            action.updated = stamp.at;
            if let Some(step) = action.steps.last_mut().filter(|s| s.finish.is_none()) {
                step.finish = Some(stamp.at);
                step.result = Some(if error.is_some() { "Error" } else { "Success" }.into());
            }
            if let Some(error) = error {
                action.message = Some(error.into());
            }
        }
    }
    fn expect(&self, fine: bool, what: &str) -> Result<(), CannotApply> {
        if fine {
            Ok(())
        } else {
            Err(CannotApply::because(format!("{what}, but the instance is {:?} with task {:?} on {:?}", self.state, self.task, self.host)))
        }
    }
}

/// Nova's word for an operation, and for the step that its host takes.
pub fn words(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::Start => ("start", "compute_start_instance"),
        Operation::Stop => ("stop", "compute_stop_instance"),
        Operation::RebootSoft | Operation::RebootHard => ("reboot", "compute_reboot_instance"),
        Operation::Pause => ("pause", "compute_pause_instance"),
        Operation::Unpause => ("unpause", "compute_unpause_instance"),
        Operation::Suspend => ("suspend", "compute_suspend_instance"),
        Operation::Resume => ("resume", "compute_resume_instance"),
        Operation::Delete => ("delete", "compute_terminate_instance"),
    }
}

/// The state that an operation ends in, and what it asks of the host.
fn outcome(operation: Operation) -> (State, Power, Wanted) {
    match operation {
        Operation::Start | Operation::RebootSoft | Operation::RebootHard | Operation::Unpause | Operation::Resume => {
            (State::Active, Power::Running, Wanted::Running)
        }
        Operation::Stop => (State::Stopped, Power::Stopped, Wanted::Stopped),
        Operation::Pause => (State::Paused, Power::Paused, Wanted::Paused),
        Operation::Suspend => (State::Suspended, Power::Suspended, Wanted::Suspended),
        Operation::Delete => (State::Error, Power::Stopped, Wanted::Absent),
    }
}

fn wanted_in(state: State) -> Wanted {
    match state {
        State::Building | State::Active => Wanted::Running,
        // What failed is left as it is found: its host is asked to keep it off.
        State::Stopped | State::Error => Wanted::Stopped,
        State::Paused => Wanted::Paused,
        State::Suspended => Wanted::Suspended,
    }
}

pub(in crate::cloud) fn apply(cloud: &mut Cloud, event: &InstanceEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let Cloud { instances, hosts, .. } = cloud;
    match event {
        InstanceEvent::InstanceRequested { id, project, user, spec, deadline } => {
            let mut instance = Instance {
                id: *id,
                project: *project,
                user: *user,
                spec: Arc::new(spec.clone()),
                state: State::Building,
                task: Some(Task::Schedule),
                deadline: Some(*deadline),
                power: None,
                wanted: Wanted::Running,
                host: None,
                generation: 0,
                reboots: 0,
                reboot_hard: false,
                asks: 0,
                deleting: false,
                fault: None,
                password: None,
                locked: None,
                launched_at: None,
                requested: stamp.position,
                cause: stamp.position,
                created_at: stamp.at,
                updated_at: stamp.at,
                actions: vec![],
            };
            instance.begin("create", stamp);
            instances.by_project.insert((*project, stamp.at, *id));
            instances.by_age.insert((stamp.at, *id));
            instances.unplaced.insert((stamp.at, *id));
            instances.deadlines.insert((*deadline, *id));
            spec.group.and_then(|group| instances.by_group.insert((group, *id)));
            instances.by_port.extend(spec.ports.iter().map(|port| (*port, *id)));
            let usage = instances.usage.entry(*project).or_default();
            usage.instances += 1;
            usage.cores += spec.size.vcpus;
            usage.ram += spec.size.ram;
            instances.all.add(*id, instance)
        }
        InstanceEvent::InstancePlaced { id, host, generation } => {
            let size = Allocation::of(&instances.all.need(id)?.spec.size);
            hosts.allocate(host, size)?;
            instances.edit(id, stamp, |i| {
                i.expect(i.host.is_none() && i.task == Some(Task::Schedule) && *generation == i.generation + 1, "placed")?;
                i.host = Some(host.clone());
                i.generation = *generation;
                i.cause = stamp.position;
                i.task = Some(Task::Spawn);
                i.step("compute__do_build_and_run_instance", stamp);
                Ok(())
            })
        }
        InstanceEvent::InstanceUnplaceable { id, reason, hosts } => instances.edit(id, stamp, |i| {
            i.expect(i.task == Some(Task::Schedule), "unplaceable")?;
            i.state = State::Error;
            i.task = None;
            i.deadline = None;
            i.wanted = Wanted::Absent;
            // For admins: hosts are none of a user's business.
            let each: Vec<String> = hosts.iter().map(|(host, why)| format!("Host {host} {why}.")).collect();
            let details = Some(each.join(" ")).filter(|d| !d.is_empty());
            i.fault = Some(Fault { code: 500, message: reason.clone(), details, at: stamp.at });
            i.step("conductor_schedule_and_build_instances", stamp);
            i.finish(Some(reason), stamp);
            Ok(())
        }),
        InstanceEvent::InstanceStarted { id, host, generation } => instances.edit(id, stamp, |i| {
            i.expect(i.task == Some(Task::Spawn) && i.host.as_ref() == Some(host) && i.generation == *generation, "started")?;
            i.state = State::Active;
            i.power = Some(Power::Running);
            i.task = None;
            i.deadline = None;
            i.launched_at = Some(stamp.at);
            i.finish(None, stamp);
            Ok(())
        }),
        InstanceEvent::InstanceBuildFailed { id, reason } => instances.edit(id, stamp, |i| {
            i.expect(i.state == State::Building, "build failed")?;
            i.state = State::Error;
            i.task = None;
            i.deadline = None;
            i.wanted = Wanted::Absent;
            i.fault = Some(Fault { code: 500, message: reason.clone(), details: None, at: stamp.at });
            i.finish(Some(reason), stamp);
            Ok(())
        }),
        InstanceEvent::InstanceOperationRequested { id, operation, deadline } => instances.edit(id, stamp, |i| {
            i.expect(i.task.is_none() || *operation == Operation::Delete, "operation requested")?;
            let (action, step) = words(*operation);
            i.begin(action, stamp);
            i.step(step, stamp);
            i.task = Some(Task::Operation(*operation));
            i.deadline = Some(*deadline);
            i.wanted = outcome(*operation).2;
            i.asks += 1;
            i.cause = stamp.position;
            i.deleting |= *operation == Operation::Delete;
            if matches!(operation, Operation::RebootSoft | Operation::RebootHard) {
                i.reboots += 1;
                i.reboot_hard = *operation == Operation::RebootHard;
            }
            Ok(())
        }),
        InstanceEvent::InstanceOperationDone { id, operation } => instances.edit(id, stamp, |i| {
            i.expect(i.task == Some(Task::Operation(*operation)) && *operation != Operation::Delete, "operation done")?;
            let (state, power, _) = outcome(*operation);
            i.state = state;
            i.power = Some(power);
            i.task = None;
            i.deadline = None;
            i.fault = None;
            i.finish(None, stamp);
            Ok(())
        }),
        InstanceEvent::InstanceOperationFailed { id, operation, reason } => instances.edit(id, stamp, |i| {
            i.expect(i.task == Some(Task::Operation(*operation)), "operation failed")?;
            i.task = None;
            i.deadline = None;
            i.fault = Some(Fault { code: 500, message: reason.clone(), details: None, at: stamp.at });
            if *operation == Operation::Delete {
                // Still to be deleted: its host goes on trying, and the user may ask again.
                i.state = State::Error;
            } else {
                i.wanted = wanted_in(i.state);
            }
            i.finish(Some(reason), stamp);
            Ok(())
        }),
        InstanceEvent::InstancePowerObserved { id, power } => instances.edit(id, stamp, |i| {
            i.power = Some(*power);
            i.state = match power {
                Power::Running => State::Active,
                Power::Paused => State::Paused,
                Power::Suspended => State::Suspended,
                Power::Stopped | Power::Crashed => State::Stopped,
            };
            i.wanted = wanted_in(i.state);
            Ok(())
        }),
        InstanceEvent::InstanceUpdated { id, name, description, hostname, disk_config_auto, access_ipv4, access_ipv6 } => {
            instances.edit(id, stamp, |i| {
                let spec = Arc::make_mut(&mut i.spec);
                name.clone().map(|n| spec.name = n);
                description.clone().map(|d| spec.description = d);
                hostname.clone().map(|h| spec.hostname = h);
                disk_config_auto.map(|d| spec.disk_config_auto = d);
                access_ipv4.map(|a| spec.access_ipv4 = a);
                access_ipv6.map(|a| spec.access_ipv6 = a);
                Ok(())
            })
        }
        InstanceEvent::InstanceMetadataSet { id, metadata } => instances.edit(id, stamp, |i| {
            Arc::make_mut(&mut i.spec).metadata = metadata.clone();
            Ok(())
        }),
        InstanceEvent::InstancePasswordKept { id, password } => instances.edit(id, stamp, |i| {
            i.password = Some(password.as_str().into());
            Ok(())
        }),
        InstanceEvent::InstancePasswordCleared { id } => instances.edit(id, stamp, |i| {
            i.password = None;
            Ok(())
        }),
        InstanceEvent::InstanceTagsSet { id, tags } => instances.edit(id, stamp, |i| {
            Arc::make_mut(&mut i.spec).tags = tags.clone();
            Ok(())
        }),
        InstanceEvent::InstanceLocked { id, by_admin, reason } => instances.edit(id, stamp, |i| {
            i.locked = Some(Lock { by_admin: *by_admin, reason: reason.clone() });
            i.begin("lock", stamp);
            Ok(())
        }),
        InstanceEvent::InstanceUnlocked { id } => instances.edit(id, stamp, |i| {
            i.locked = None;
            i.begin("unlock", stamp);
            Ok(())
        }),
        InstanceEvent::InstancePortsChanged { id, ports, own_ports } => {
            for port in &instances.all.need(id)?.spec.ports {
                instances.by_port.remove(&(*port, *id));
            }
            instances.by_port.extend(ports.iter().map(|port| (*port, *id)));
            instances.edit(id, stamp, |i| {
                Arc::make_mut(&mut i.spec).ports = ports.clone();
                Arc::make_mut(&mut i.spec).own_ports = own_ports.clone();
                Ok(())
            })
        }
        InstanceEvent::InstanceReleased { id } => {
            let i = instances.all.need(id)?;
            i.expect(i.state == State::Error && i.wanted == Wanted::Absent && i.task.is_none(), "released")?;
            let Some(host) = i.host.clone() else { return Err(CannotApply::because("released, but on no host")) };
            hosts.free(&host, Allocation::of(&i.spec.size))?;
            instances.edit(id, stamp, |i| {
                i.host = None;
                Ok(())
            })
        }
        InstanceEvent::InstanceStateReset { id, error } => instances.edit(id, stamp, |i| {
            i.expect(i.host.is_some() && i.wanted != Wanted::Absent, "state reset")?;
            i.task = None;
            i.deadline = None;
            if *error {
                i.state = State::Error;
            } else {
                i.state = State::Active;
                i.wanted = Wanted::Running;
                i.fault = None;
            }
            Ok(())
        }),
        InstanceEvent::InstanceDeleted { id } => {
            let i = instances.all.remove(id)?;
            instances.by_project.remove(&(i.project, i.created_at, *id));
            instances.by_age.remove(&(i.created_at, *id));
            instances.unplaced.remove(&(i.created_at, *id));
            i.spec.group.and_then(|group| instances.by_group.remove(&(group, *id)));
            for port in &i.spec.ports {
                instances.by_port.remove(&(*port, *id));
            }
            i.deadline.and_then(|d| instances.deadlines.remove(&(d, *id)));
            if let Some(host) = &i.host {
                instances.by_host.remove(&(host.clone(), *id));
                hosts.free(host, Allocation::of(&i.spec.size))?;
            }
            if let Some(usage) = instances.usage.get_mut(&i.project) {
                usage.instances -= 1;
                usage.cores -= i.spec.size.vcpus;
                usage.ram -= i.spec.size.ram;
                if *usage == Usage::default() {
                    instances.usage.remove(&i.project);
                }
            }
            cloud.end_of_stream(InstanceEvent::KIND, id.0);
            Ok(())
        }
    }
}
