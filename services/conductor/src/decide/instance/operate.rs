//! Power operations and deletion: Nova's table of what each state allows (nova/compute/api.py, check_instance_state).

use super::{MEMORY_RATE, OPERATION_SECS, find, gone, idle, in_state, launched, unlocked, wrong};
use crate::{Command, Context, Decision, Refusal, events};
use strata_events::InstanceId;
use strata_events::instance::{InstanceEvent, Operation};
use strata_projections::Cloud;
use strata_projections::cloud::instance::{State, Task, Wanted, words};

/// Asks the instance's host for something.
#[derive(Debug, Clone)]
pub struct OperateInstance {
    pub id: InstanceId,
    /// Any but Delete, which is [`DeleteInstance`].
    pub operation: Operation,
    /// Locks don't bind admins.
    pub admin: bool,
}

fn allowed_in(operation: Operation) -> &'static [State] {
    use State::{Active, Error, Paused, Stopped, Suspended};
    match operation {
        Operation::Start => &[Stopped],
        Operation::Stop => &[Active, Error],
        Operation::RebootSoft | Operation::Pause | Operation::Suspend => &[Active],
        Operation::RebootHard => &[Active, Stopped, Paused, Suspended, Error],
        Operation::Unpause => &[Paused],
        Operation::Resume => &[Suspended],
        Operation::Delete => &[],
    }
}

impl Command for OperateInstance {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        let action = words(self.operation).0;
        unlocked(instance, self.admin)?;
        in_state(instance, action, allowed_in(self.operation))?;
        idle(instance, action)?;
        launched(instance, action)?;
        if instance.host.is_none() {
            return Err(Refusal::conflict(format!("Instance {} is not ready", instance.id)));
        }
        if instance.deleting || instance.wanted == Wanted::Absent {
            return Err(wrong(instance, action, "task_state", "deleting"));
        }
        Ok(events![InstanceEvent::InstanceOperationRequested {
            id: self.id,
            operation: self.operation,
            deadline: ctx.now.plus_secs(seconds(self.operation, instance.spec.size.ram)),
        }])
    }
}

/// How long a host has for it, with a server of so much memory (MiB).
fn seconds(operation: Operation, ram: u64) -> i64 {
    match operation {
        // All of it goes to the disk, or comes from there.
        Operation::Suspend | Operation::Resume => OPERATION_SECS.saturating_add_unsigned(ram / MEMORY_RATE),
        _ => OPERATION_SECS,
    }
}

/// Deletes an instance: at once when no host has anything of it, else when its host reports it gone.
#[derive(Debug, Clone)]
pub struct DeleteInstance {
    pub id: InstanceId,
    pub admin: bool,
}

impl Command for DeleteInstance {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        unlocked(instance, self.admin)?;
        if instance.host.is_none() {
            return Ok(gone(cloud, instance));
        }
        if instance.task == Some(Task::Operation(Operation::Delete)) {
            return Ok(vec![]);
        }
        Ok(events![InstanceEvent::InstanceOperationRequested {
            id: self.id,
            operation: Operation::Delete,
            deadline: ctx.now.plus_secs(OPERATION_SECS),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_memory_has_longer_to_be_saved_and_restored() {
        assert_eq!(seconds(Operation::Suspend, 512), OPERATION_SECS + 5);
        assert_eq!(seconds(Operation::Resume, 64 << 10), OPERATION_SECS + 655);
        assert_eq!(seconds(Operation::Pause, 64 << 10), OPERATION_SECS);
    }
}
