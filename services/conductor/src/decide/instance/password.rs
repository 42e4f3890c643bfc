//! The password that a guest leaves for its owner. **Invariant: what was left is not changed by the guest, only forgotten by its
//! owner.** Source: Nova's metadata service (`password`), compute api-ref "Servers password".

use super::find;
use crate::{Class, Command, Context, Decision, Refusal, events};
use strata_events::instance::InstanceEvent;
use strata_events::{HostName, InstanceId};
use strata_projections::Cloud;

/// bytes; Nova's bound
pub const LONGEST: usize = 4 * 255;

/// A guest on this host leaves a password.
#[derive(Clone)]
pub struct KeepPassword {
    pub host: HostName,
    pub id: InstanceId,
    pub password: String,
}

impl std::fmt::Debug for KeepPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeepPassword({} on {})", self.id, self.host)
    }
}

impl Command for KeepPassword {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        if instance.host.as_ref() != Some(&self.host) {
            return Err(Refusal::new(Class::Forbidden, "Forbidden", format!("Instance {} is not on host {}.", self.id, self.host)));
        }
        if self.password.len() > LONGEST || self.password.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Refusal::invalid(format!("A password is text of at most {LONGEST} bytes.")));
        }
        match &instance.password {
            Some(kept) if **kept == *self.password => Ok(vec![]),
            Some(_) => Err(Refusal::conflict("There is a password already.")),
            None => Ok(events![InstanceEvent::InstancePasswordKept { id: self.id, password: self.password.clone() }]),
        }
    }
}

/// Its owner has read it.
#[derive(Debug, Clone)]
pub struct ClearPassword {
    pub id: InstanceId,
}

impl Command for ClearPassword {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let instance = find(cloud, &self.id)?;
        Ok(if instance.password.is_some() { events![InstanceEvent::InstancePasswordCleared { id: self.id }] } else { vec![] })
    }
}
