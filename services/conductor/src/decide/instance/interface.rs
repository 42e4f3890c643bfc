//! Plugging ports into a server that exists, and out of it.

use super::networks::{self, NewPort, NicTarget};
use super::{find, freed, idle, in_state, launched, unlocked};
use crate::draft::Draft;
use crate::{Class, Command, Context, Decision, Refusal};
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
    /// The id of a port that may have to be made.
    pub new_port: PortId,
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
        let owner = format!("compute:{}", instance.spec.zone.as_deref().unwrap_or("nova"));
        let mut draft = Draft::of(cloud, ctx);
        let (mut ports, mut own_ports) = (instance.spec.ports.clone(), instance.spec.own_ports.clone());
        let port = match &self.target {
            NicTarget::Port(id) => {
                networks::usable_port(cloud, &instance.project, self.admin, id)?;
                networks::take(&mut draft, id, &self.id.to_string(), &owner)?;
                *id
            }
            NicTarget::Network { id, fixed_ip } => {
                networks::usable_network(cloud, &instance.project, self.admin, id)?;
                let new = NewPort {
                    id: self.new_port,
                    project: instance.project,
                    network: *id,
                    fixed_ip: *fixed_ip,
                    device: self.id.to_string(),
                    owner: &owner,
                };
                networks::create(&mut draft, &new, &None)?;
                own_ports.push(self.new_port);
                self.new_port
            }
        };
        ports.push(port);
        if let Some(host) = &instance.host {
            draft.push(PortEvent::PortBound { id: port, host: host.clone() })?;
        }
        draft.push(InstanceEvent::InstancePortsChanged { id: self.id, ports, own_ports })?;
        Ok(draft.events)
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
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
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
        let mut draft = Draft::of(cloud, ctx);
        draft.push(InstanceEvent::InstancePortsChanged {
            id: self.id,
            ports: others(&instance.spec.ports),
            own_ports: others(&instance.spec.own_ports),
        })?;
        if let Some(port) = cloud.ports.get(&self.port) {
            if instance.spec.own_ports.contains(&self.port) {
                draft.push(PortEvent::PortDeleted { id: self.port })?;
            } else {
                for event in freed(port) {
                    draft.push(event)?;
                }
            }
        }
        Ok(draft.events)
    }
}
