//! Instances. Invariants: a state is reached only by its listed transitions (3); what is placed on a host is allocated there
//! (4); every transient state has a deadline (7).

mod apply;

use super::{CannotApply, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::instance::{InstanceSpec, Operation, Power};
use strata_events::{HostName, InstanceId, PortId, ProjectId, ServerGroupId, Timestamp, UserId};

pub(super) use apply::apply;
pub use apply::words;

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

impl State {
    /// Nova's word.
    pub fn word(self) -> &'static str {
        match self {
            State::Building => "building",
            State::Active => "active",
            State::Stopped => "stopped",
            State::Paused => "paused",
            State::Suspended => "suspended",
            State::Error => "error",
        }
    }
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

impl Task {
    /// Nova's word (task_state).
    pub fn word(self) -> &'static str {
        match self {
            Task::Schedule => "scheduling",
            Task::Spawn => "spawning",
            Task::Operation(operation) => match operation {
                Operation::Start => "powering-on",
                Operation::Stop => "powering-off",
                Operation::RebootSoft => "rebooting",
                Operation::RebootHard => "rebooting_hard",
                Operation::Pause => "pausing",
                Operation::Unpause => "unpausing",
                Operation::Suspend => "suspending",
                Operation::Resume => "resuming",
                Operation::Delete => "deleting",
            },
        }
    }
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
    /// Shared: most changes of an instance don't touch it.
    pub spec: Arc<InstanceSpec>,
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
    /// How many operations were asked for. The host compares with what it did, so it tells what a user asked for from what
    /// happened by itself (a guest that shut down).
    pub asks: u32,
    /// Its end was asked for; nothing takes that back.
    pub deleting: bool,
    pub fault: Option<Fault>,
    /// What the guest left for its owner, encrypted with the owner's key.
    pub password: Option<Arc<str>>,
    pub locked: Option<Lock>,
    pub launched_at: Option<Timestamp>,
    /// The position of its first event.
    pub requested: u64,
    /// The position of the event that its host acts on: its placement, or the last operation asked for.
    pub cause: u64,
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
    by_group: OrdSet<(ServerGroupId, InstanceId)>,
    by_port: OrdSet<(PortId, InstanceId)>,
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
    /// The members of a server group.
    pub fn of_group(&self, group: &ServerGroupId) -> impl Iterator<Item = &Arc<Instance>> {
        let group = *group;
        self.by_group.range((group, FIRST)..=(group, LAST)).filter_map(|(_, id)| self.all.get(id))
    }
    /// The one that has a port: it says so itself. What a port names as its device its owner may write as they like.
    pub fn holding(&self, port: &PortId) -> Option<&Arc<Instance>> {
        self.by_port.range((*port, FIRST)..=(*port, LAST)).find_map(|(_, id)| self.all.get(id))
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
