//! Instances. Invariants: a state is reached only by its listed transitions (3); what is placed on a host is allocated there
//! (4); every transient state has a deadline (7).

use super::host::Allocation;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::instance::{InstanceEvent, InstanceSpec, Operation, Power};
use strata_events::{Actor, HostName, InstanceId, ProjectId, Timestamp, UserId};

/// Nova's vm_state, without `deleted`: what is deleted is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Building,
    Active,
    Stopped,
    Paused,
    Suspended,
    Error,
}

/// What its host shall make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Running,
    Stopped,
    Paused,
    Suspended,
    Absent,
}

/// What is being done with it. It ends by an event, at the latest because of its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Waits for the scheduler.
    Schedule,
    /// Its host builds it.
    Spawn,
    Operation(Operation),
}

/// Why it is in ERROR, or what went wrong last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub code: u16,
    pub message: String,
    pub details: Option<String>,
    pub at: Timestamp,
}

/// Something that a user asked of it (`openstack server event list`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub request_id: String,
    /// Nova's word: `create`, `stop`, `reboot`, …
    pub action: String,
    pub user: Option<UserId>,
    pub project: Option<ProjectId>,
    pub start: Timestamp,
    pub updated: Timestamp,
    pub message: Option<String>,
    pub steps: Vec<Step>,
}

/// A part of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Nova's word: `compute__do_build_and_run_instance`, …
    pub name: String,
    pub start: Timestamp,
    pub finish: Option<Timestamp>,
    /// `Success` or `Error`
    pub result: Option<String>,
    pub host: Option<HostName>,
}

/// Who may act on a locked instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub by_admin: bool,
    pub reason: Option<String>,
}

/// How many actions are remembered with a live instance; the log has them all.
pub const ACTIONS_KEPT: usize = 32;

/// An instance as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub project: ProjectId,
    pub user: UserId,
    pub spec: InstanceSpec,
    pub state: State,
    pub task: Option<Task>,
    pub deadline: Option<Timestamp>,
    pub power: Option<Power>,
    pub wanted: Wanted,
    pub host: Option<HostName>,
    /// Raised with every placement; 0 before the first.
    pub generation: u32,
    /// How many reboots were asked for, and whether the last was hard. The host compares with what it did.
    pub reboots: u32,
    pub reboot_hard: bool,
    pub fault: Option<Fault>,
    pub locked: Option<Lock>,
    pub launched_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub actions: Vec<Arc<Action>>,
}

/// What a project's instances amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub instances: u32,
    pub cores: u32,
    /// MiB
    pub ram: u64,
}

/// The live instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Instances {
    all: Table<InstanceId, Instance>,
    by_project: OrdSet<(ProjectId, Timestamp, InstanceId)>,
    by_age: OrdSet<(Timestamp, InstanceId)>,
    by_host: OrdSet<(HostName, InstanceId)>,
    unplaced: OrdSet<(Timestamp, InstanceId)>,
    deadlines: OrdSet<(Timestamp, InstanceId)>,
    usage: OrdMap<ProjectId, Usage>,
}

impl std::ops::Deref for Instances {
    type Target = Table<InstanceId, Instance>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

const FIRST: InstanceId = InstanceId(uuid::Uuid::nil());
const LAST: InstanceId = InstanceId(uuid::Uuid::max());

impl Instances {
    /// One project's, newest first: the order of the API.
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Instance>> {
        let (first, last) = ((*project, Timestamp(i64::MIN), FIRST), (*project, Timestamp(i64::MAX), LAST));
        self.by_project.range(first..=last).rev().filter_map(|(_, _, id)| self.all.get(id))
    }
    /// All, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.by_age.iter().rev().filter_map(|(_, id)| self.all.get(id))
    }
    pub fn on_host(&self, host: &HostName) -> impl Iterator<Item = &Arc<Instance>> {
        let host = host.clone();
        self.by_host.range((host.clone(), FIRST)..).take_while(move |(h, _)| *h == host).filter_map(|(_, id)| self.all.get(id))
    }
    /// Those that wait for the scheduler, oldest first.
    pub fn unplaced(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.unplaced.iter().filter_map(|(_, id)| self.all.get(id))
    }
    /// Those whose deadline has passed, the most overdue first.
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Instance>> {
        self.deadlines.range(..=(now, LAST)).filter_map(|(_, id)| self.all.get(id))
    }
    /// Those with a deadline: in a transient state.
    pub fn in_transit(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.deadlines.iter().filter_map(|(_, id)| self.all.get(id))
    }
    pub fn usage(&self, project: &ProjectId) -> Usage {
        self.usage.get(project).copied().unwrap_or_default()
    }

    fn edit(
        &mut self,
        id: &InstanceId,
        stamp: &Stamp<'_>,
        f: impl FnOnce(&mut Instance) -> Result<(), CannotApply>,
    ) -> Result<(), CannotApply> {
        let (before, after) = self.all.change(id, |i| {
            let before = (i.deadline, i.host.clone(), i.task);
            i.updated_at = stamp.at;
            f(i).map(|()| (before, (i.deadline, i.host.clone(), i.task, i.created_at)))
        })??;
        if before.0 != after.0 {
            before.0.and_then(|d| self.deadlines.remove(&(d, *id)));
            after.0.and_then(|d| self.deadlines.insert((d, *id)));
        }
        if before.1 != after.1 {
            before.1.and_then(|h| self.by_host.remove(&(h, *id)));
            after.1.and_then(|h| self.by_host.insert((h, *id)));
        }
        if before.2 == Some(Task::Schedule) && after.2 != Some(Task::Schedule) {
            self.unplaced.remove(&(after.3, *id));
        }
        Ok(())
    }
}

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
        State::Stopped | State::Error => Wanted::Stopped,
        State::Paused => Wanted::Paused,
        State::Suspended => Wanted::Suspended,
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &InstanceEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let Cloud { instances, hosts, .. } = cloud;
    match event {
        InstanceEvent::InstanceRequested { id, project, user, spec, deadline } => {
            let mut instance = Instance {
                id: *id,
                project: *project,
                user: *user,
                spec: spec.clone(),
                state: State::Building,
                task: Some(Task::Schedule),
                deadline: Some(*deadline),
                power: None,
                wanted: Wanted::Running,
                host: None,
                generation: 0,
                reboots: 0,
                reboot_hard: false,
                fault: None,
                locked: None,
                launched_at: None,
                created_at: stamp.at,
                updated_at: stamp.at,
                actions: vec![],
            };
            instance.begin("create", stamp);
            instances.by_project.insert((*project, stamp.at, *id));
            instances.by_age.insert((stamp.at, *id));
            instances.unplaced.insert((stamp.at, *id));
            instances.deadlines.insert((*deadline, *id));
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
                i.task = Some(Task::Spawn);
                i.step("compute__do_build_and_run_instance", stamp);
                Ok(())
            })
        }
        InstanceEvent::InstanceUnplaceable { id, reason, hosts: _ } => instances.edit(id, stamp, |i| {
            i.expect(i.task == Some(Task::Schedule), "unplaceable")?;
            i.state = State::Error;
            i.task = None;
            i.deadline = None;
            i.wanted = Wanted::Absent;
            i.fault = Some(Fault { code: 500, message: reason.clone(), details: None, at: stamp.at });
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
        InstanceEvent::InstanceUpdated { id, name, description, hostname, disk_config_auto } => instances.edit(id, stamp, |i| {
            name.clone().map(|n| i.spec.name = n);
            description.clone().map(|d| i.spec.description = d);
            hostname.clone().map(|h| i.spec.hostname = h);
            disk_config_auto.map(|d| i.spec.disk_config_auto = d);
            Ok(())
        }),
        InstanceEvent::InstanceMetadataSet { id, metadata } => instances.edit(id, stamp, |i| {
            i.spec.metadata = metadata.clone();
            Ok(())
        }),
        InstanceEvent::InstanceTagsSet { id, tags } => instances.edit(id, stamp, |i| {
            i.spec.tags = tags.clone();
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
        InstanceEvent::InstancePortsChanged { id, ports, own_ports } => instances.edit(id, stamp, |i| {
            i.spec.ports = ports.clone();
            i.spec.own_ports = own_ports.clone();
            Ok(())
        }),
        InstanceEvent::InstanceDeleted { id } => {
            let i = instances.all.remove(id)?;
            instances.by_project.remove(&(i.project, i.created_at, *id));
            instances.by_age.remove(&(i.created_at, *id));
            instances.unplaced.remove(&(i.created_at, *id));
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
