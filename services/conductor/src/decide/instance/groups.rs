//! Security groups of a server: those of all its ports, changed at once.

use super::{find, in_state, networks, unlocked};
use crate::{Class, Command, Context, Decision, Refusal, events};
use strata_events::InstanceId;
use strata_events::port::{PortAttributes, PortEvent};
use strata_projections::Cloud;
use strata_projections::cloud::instance::State;

/// Puts every port of a server into a security group, or takes each out of it.
#[derive(Debug, Clone)]
pub struct ChangeSecurityGroup {
    pub id: InstanceId,
    /// Name or id.
    pub group: String,
    pub add: bool,
    pub admin: bool,
}

impl Command for ChangeSecurityGroup {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        let action = if self.add { "add_security_group" } else { "remove_security_group" };
        unlocked(instance, self.admin)?;
        in_state(instance, action, &[State::Active, State::Paused, State::Suspended, State::Stopped])?;
        let missing = |refusal: Refusal| match refusal.class {
            Class::Invalid => Refusal { class: Class::NotFound, ..refusal },
            _ => refusal,
        };
        let group = networks::security_group(cloud, &instance.project, &self.group).map_err(missing)?;
        let ports = instance.spec.ports.iter().filter_map(|id| cloud.ports.get(id)).filter(|p| p.attributes.port_security_enabled);
        let changed = ports.filter(|p| p.attributes.security_groups.contains(&group) != self.add);
        let mut events = vec![];
        for port in changed {
            let mut security_groups = port.attributes.security_groups.clone();
            if self.add {
                security_groups.push(group);
            } else {
                security_groups.retain(|g| *g != group);
            }
            events.extend(events![PortEvent::PortUpdated {
                id: port.id,
                attributes: PortAttributes { security_groups, ..port.attributes.clone() },
            }]);
        }
        if events.is_empty() && !self.add {
            let message = format!("Security group {} not associated with the instance {}", self.group, self.id);
            return Err(Refusal::new(Class::NotFound, "SecurityGroupNotExistsForInstance", message));
        }
        Ok(events)
    }
}
