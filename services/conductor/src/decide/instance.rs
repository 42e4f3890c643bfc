//! What may be asked of an instance. Who may ask is decided before (the API's policy); here stands what the state allows:
//! Nova's table of states, locks, quotas and capacity.

mod change;
mod fit;
mod groups;
mod interface;
mod networks;
mod operate;
mod password;
mod place;
mod request;
#[cfg(test)]
mod tests;

pub use change::{LockInstance, MetadataChange, ResetState, SetMetadata, SetTags, TagsChange, UnlockInstance, UpdateInstance};
pub use fit::Wishes;
pub use groups::ChangeSecurityGroup;
pub use interface::{AttachInterface, DetachInterface};
pub use networks::{NicAsk, NicTarget, PortSeed, WantedNetworks};
pub use operate::{DeleteInstance, OperateInstance};
pub use password::{ClearPassword, KeepPassword};
pub use place::{ExpireInstance, MarkUnplaceable, NO_VALID_HOST, PlaceInstance};
pub use request::{NewInstance, RequestInstances};

use crate::decide::port::release;
use crate::{Refusal, events};
use std::sync::Arc;
use strata_events::instance::InstanceEvent;
use strata_events::port::PortEvent;
use strata_events::{Event, InstanceId};
use strata_projections::Cloud;
use strata_projections::cloud::instance::{Instance, State};

/// How long a host has to do what a user asked.
pub const OPERATION_SECS: i64 = 60;
/// How much of a server's memory a host saves or restores in a second, in MiB, at the least.
pub const MEMORY_RATE: u64 = 100;
/// How long a request has until it runs, its image's first copy to the host included.
pub const BUILD_SECS: i64 = 600;

/// The events with which an instance is gone: those of its ports that were made for it go too, the others are free again.
/// For whoever learns that nothing of it is left on its host.
pub fn gone(cloud: &Cloud, instance: &Instance) -> Vec<Event> {
    let mut events = events![InstanceEvent::InstanceDeleted { id: instance.id }];
    for port in instance.spec.ports.iter().filter_map(|id| cloud.ports.get(id)) {
        events.extend(release(port, instance.spec.own_ports.contains(&port.id)));
    }
    events
}

/// The events with which a failed build leaves its host: the allocation and the ports' bindings there end.
pub fn released(cloud: &Cloud, instance: &Instance) -> Vec<Event> {
    let mut events = events![InstanceEvent::InstanceReleased { id: instance.id }];
    let bound = instance.spec.ports.iter().filter_map(|id| cloud.ports.get(id)).filter_map(|p| Some((p.id, p.binding.as_ref()?)));
    events.extend(bound.map(|(id, binding)| Event::from(PortEvent::PortUnbound { id, host: binding.host.clone() })));
    events
}

fn find<'a>(cloud: &'a Cloud, id: &InstanceId) -> Result<&'a Arc<Instance>, Refusal> {
    cloud.instances.get(id).ok_or_else(|| Refusal::not_found("Instance", id).with_kind("InstanceNotFound"))
}

fn unlocked(instance: &Instance, admin: bool) -> Result<(), Refusal> {
    if instance.locked.is_some() && !admin {
        return Err(Refusal::conflict(format!("Instance {} is locked", instance.id)));
    }
    Ok(())
}

fn wrong(instance: &Instance, action: &str, attribute: &str, value: &str) -> Refusal {
    Refusal::conflict(format!("Cannot '{action}' instance {} while it is in {attribute} {value}", instance.id))
}

fn in_state(instance: &Instance, action: &str, fine: &[State]) -> Result<(), Refusal> {
    if fine.contains(&instance.state) { Ok(()) } else { Err(wrong(instance, action, "vm_state", instance.state.word())) }
}

fn idle(instance: &Instance, action: &str) -> Result<(), Refusal> {
    match instance.task {
        None => Ok(()),
        Some(task) => Err(wrong(instance, action, "task_state", task.word())),
    }
}

fn launched(instance: &Instance, action: &str) -> Result<(), Refusal> {
    if instance.launched_at.is_some() { Ok(()) } else { Err(wrong(instance, action, "launched_at", "None")) }
}
