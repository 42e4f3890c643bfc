//! Plugging ports into a server that exists, and out of it.

use super::networks::{self, Device, NicTarget, PortSeed};
use super::{find, idle, in_state, launched, unlocked};
use crate::decide::address::Taken;
use crate::decide::port::release;
use crate::decide::security_group::DefaultGroupIds;
use crate::{Class, Command, Context, Decision, Refusal, events};
use strata_events::instance::InstanceEvent;
use strata_events::port::PortEvent;
use strata_events::{InstanceId, PortId};
use strata_projections::Cloud;
use strata_projections::cloud::instance::State;

const PLUGGABLE: &[State] = &[State::Active, State::Paused, State::Stopped];

/// Plugs a port into a server: one that exists, or a new one.
#[derive(Debug, Clone)]
pub struct AttachInterface {
    pub id: InstanceId,
    /// For a port that may have to be made.
    pub seed: PortSeed,
    pub default_group: DefaultGroupIds,
    pub target: NicTarget,
    pub admin: bool,
}

impl Command for AttachInterface {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        unlocked(instance, self.admin)?;
        in_state(instance, "attach_interface", PLUGGABLE)?;
        idle(instance, "attach_interface")?;
        launched(instance, "attach_interface")?;
        if let NicTarget::Network { id, fixed_ip } = &self.target {
            networks::usable_network(cloud, &instance.project, self.admin, id, fixed_ip.is_some())?;
        }
        let device = Device {
            id: self.id,
            project: instance.project,
            owner: networks::owner(instance.spec.zone.as_deref()),
            admin: self.admin,
            security_groups: &None,
            default_group: self.default_group,
        };
        let mut events = networks::plug(cloud, ctx.now, &device, &self.target, Some(&self.seed), &mut Taken::default())?;
        let (mut ports, mut own_ports) = (instance.spec.ports.clone(), instance.spec.own_ports.clone());
        let port = match &self.target {
            NicTarget::Port(id) => *id,
            NicTarget::Network { .. } => {
                own_ports.push(self.seed.id);
                self.seed.id
            }
        };
        ports.push(port);
        if let Some(host) = &instance.host {
            events.push(PortEvent::PortBound { id: port, host: host.clone() }.into());
        }
        events.push(InstanceEvent::InstancePortsChanged { id: self.id, ports, own_ports }.into());
        Ok(events)
    }
}

/// Plugs a port out of a server; one that was made for it goes.
#[derive(Debug, Clone)]
pub struct DetachInterface {
    pub id: InstanceId,
    pub port: PortId,
    pub admin: bool,
}

impl Command for DetachInterface {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        unlocked(instance, self.admin)?;
        in_state(instance, "detach_interface", PLUGGABLE)?;
        idle(instance, "detach_interface")?;
        launched(instance, "detach_interface")?;
        if !instance.spec.ports.contains(&self.port) {
            let message = format!("Instance {} does not have a port with id {}.", self.id, self.port);
            return Err(Refusal::new(Class::NotFound, "PortNotFound", message));
        }
        let others = |ports: &[PortId]| ports.iter().filter(|p| **p != self.port).copied().collect::<Vec<_>>();
        let mut events = events![InstanceEvent::InstancePortsChanged {
            id: self.id,
            ports: others(&instance.spec.ports),
            own_ports: others(&instance.spec.own_ports),
        }];
        if let Some(port) = cloud.ports.get(&self.port) {
            events.extend(release(port, instance.spec.own_ports.contains(&self.port)));
        }
        Ok(events)
    }
}
