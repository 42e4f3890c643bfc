//! What may be asked of a host, and what its lease says of it.

use crate::{Class, Command, Context, Decision, Refusal, events};
use strata_events::host::{HostEvent, Inventory};
use strata_events::{HostName, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::host::Host;

/// The zone of a host that names none; Nova's default.
pub const DEFAULT_ZONE: &str = "nova";

/// Lets one host of this name join until `expires_at`, with the token whose SHA-256 (hex) this is.
#[derive(Debug, Clone)]
pub struct InviteHost {
    pub host: HostName,
    pub hash: String,
    pub expires_at: Timestamp,
}

impl Command for InviteHost {
    fn decide(&self, _: &Cloud, ctx: &Context) -> Decision {
        HostName::parse(&self.host.0).map_err(|_| bad_name(&self.host))?;
        if self.expires_at <= ctx.now {
            return Err(Refusal::invalid("An invitation that has expired already lets nobody in; give a later expires_at."));
        }
        Ok(events![HostEvent::HostInvited { id: self.host.clone(), hash: self.hash.clone(), expires_at: self.expires_at }])
    }
}

/// A host joins with its key. Asked again by the host that did (same key), it changes nothing: the answer may have been lost.
#[derive(Debug, Clone)]
pub struct JoinHost {
    pub host: HostName,
    /// SHA-256 of the token that it showed, hex.
    pub hash: String,
    pub public_key: String,
    pub zone: String,
    pub inventory: Inventory,
}

impl Command for JoinHost {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        HostName::parse(&self.host.0).map_err(|_| bad_name(&self.host))?;
        let invitation = cloud.hosts.invitations.get(&self.host);
        match invitation {
            Some(invitation) if invitation.hash == self.hash && invitation.expires_at > ctx.now => {}
            // The key is proof enough that it is the same host: only whoever has the private half can use what it gets.
            _ if cloud.hosts.get(&self.host).is_some_and(|h| h.public_key == self.public_key) => return Ok(vec![]),
            _ => {
                let message =
                    format!("The token does not let a host named {} join, or has expired; ask an admin for a new one.", self.host);
                return Err(Refusal::new(Class::Forbidden, "Forbidden", message));
            }
        }
        if let Some(other) = cloud.hosts.values().find(|h| h.public_key == self.public_key && h.name != self.host) {
            return Err(Refusal::conflict(format!("The key belongs to host {}; a host needs its own.", other.name)));
        }
        Ok(events![HostEvent::HostJoined {
            id: self.host.clone(),
            public_key: self.public_key.clone(),
            zone: if self.zone.is_empty() { DEFAULT_ZONE.into() } else { self.zone.clone() },
            inventory: self.inventory.clone(),
        }])
    }
}

/// Lets the scheduler place instances there.
#[derive(Debug, Clone)]
pub struct EnableHost {
    pub host: HostName,
}

impl Command for EnableHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let host = find(cloud, &self.host)?;
        Ok(if host.enabled { vec![] } else { events![HostEvent::HostEnabled { id: self.host.clone() }] })
    }
}

/// Keeps the scheduler from placing instances there; those that are there stay.
#[derive(Debug, Clone)]
pub struct DisableHost {
    pub host: HostName,
    pub reason: Option<String>,
}

impl Command for DisableHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let host = find(cloud, &self.host)?;
        let same = !host.enabled && host.disabled_reason == self.reason;
        Ok(if same { vec![] } else { events![HostEvent::HostDisabled { id: self.host.clone(), reason: self.reason.clone() }] })
    }
}

/// Declares a host down, or takes that back.
#[derive(Debug, Clone)]
pub struct ForceDownHost {
    pub host: HostName,
    pub forced_down: bool,
}

impl Command for ForceDownHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let same = find(cloud, &self.host)?.forced_down == self.forced_down;
        Ok(if same { vec![] } else { events![HostEvent::HostForcedDown { id: self.host.clone(), forced_down: self.forced_down }] })
    }
}

/// Lets a host go for good.
#[derive(Debug, Clone)]
pub struct RemoveHost {
    pub host: HostName,
}

impl Command for RemoveHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        find(cloud, &self.host)?;
        let servers = cloud.instances.on_host(&self.host).count();
        let ports = cloud.ports.on_host(&self.host).count() + cloud.ports.remnants_on(&self.host).count();
        if servers > 0 {
            return Err(Refusal::conflict(format!("Host {} still has {servers} servers; delete them first.", self.host)));
        }
        if ports > 0 {
            let message = format!("Host {} still has {ports} ports to unplug; let its worker finish, or delete them first.", self.host);
            return Err(Refusal::conflict(message));
        }
        Ok(events![HostEvent::HostRemoved { id: self.host.clone() }])
    }
}

/// A host has not renewed its lease.
#[derive(Debug, Clone)]
pub struct LoseHost {
    pub host: HostName,
    pub last_seen: Timestamp,
}

impl Command for LoseHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let up = cloud.hosts.get(&self.host).is_some_and(|h| h.up);
        Ok(if up { events![HostEvent::HostLost { id: self.host.clone(), last_seen: self.last_seen }] } else { vec![] })
    }
}

/// A host that was lost renews its lease.
#[derive(Debug, Clone)]
pub struct ReturnHost {
    pub host: HostName,
}

impl Command for ReturnHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let down = cloud.hosts.get(&self.host).is_some_and(|h| !h.up);
        Ok(if down { events![HostEvent::HostReturned { id: self.host.clone() }] } else { vec![] })
    }
}

/// Writes down what there is to know of a host.
#[derive(Debug, Clone)]
pub struct DescribeHost {
    pub host: HostName,
    pub description: String,
}

impl Command for DescribeHost {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let (id, description) = (self.host.clone(), self.description.clone());
        let known = find(cloud, &self.host)?.description == description;
        Ok(if known { vec![] } else { events![HostEvent::HostDescribed { id, description }] })
    }
}

fn find<'a>(cloud: &'a Cloud, host: &HostName) -> Result<&'a Host, Refusal> {
    let host = cloud.hosts.get(host).ok_or_else(|| Refusal::not_found("Compute host", host).with_kind("ComputeHostNotFound"))?;
    Ok(host)
}

fn bad_name(host: &HostName) -> Refusal {
    Refusal::invalid(format!("{host:?} can't be a host's name: use 1 to 63 letters, digits, '-' and '_'."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, given};
    use strata_events::Event;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn inventory() -> Inventory {
        Inventory {
            vcpus: 8,
            memory: 16384,
            disk: 100,
            hypervisor_type: "simulated".into(),
            hypervisor_version: 1,
            cpu_arch: "x86_64".into(),
            host_ip: "127.0.0.1".into(),
        }
    }
    fn join(host: &str, hash: &str, key: &str) -> JoinHost {
        JoinHost { host: host.into(), hash: hash.into(), public_key: key.into(), zone: String::new(), inventory: inventory() }
    }
    fn invited(host: &str, hash: &str) -> Event {
        HostEvent::HostInvited { id: host.into(), hash: hash.into(), expires_at: NOW.plus_secs(60) }.into()
    }
    fn joined(host: &str, key: &str) -> Event {
        HostEvent::HostJoined { id: host.into(), public_key: key.into(), zone: DEFAULT_ZONE.into(), inventory: inventory() }.into()
    }
    fn with_h1() -> Given {
        given([joined("h1", "U1")])
    }

    #[test]
    fn an_invited_host_joins_once_with_its_token() {
        let cloud = given([invited("h1", "secret")]).when(join("h1", "secret", "U1")).then([joined("h1", "U1")]);
        assert!(cloud.hosts.get(&"h1".into()).is_some_and(|h| h.takes_instances()));
        assert!(cloud.hosts.invitations.is_empty(), "a token works once");
    }

    #[test]
    fn a_host_that_lost_the_answer_asks_again_and_another_key_cannot() {
        with_h1().when(join("h1", "secret", "U1")).then([]);
        with_h1().when(join("h1", "secret", "U2")).refused(Class::Forbidden, "new one");
    }

    #[test]
    fn a_token_lets_in_only_its_host_and_only_in_time() {
        given([invited("h1", "secret")]).when(join("h2", "secret", "U1")).refused(Class::Forbidden, "does not let a host named h2");
        given([invited("h1", "secret")]).when(join("h1", "guess", "U1")).refused(Class::Forbidden, "does not let");
        given([invited("h1", "secret")]).at(NOW.plus_secs(61)).when(join("h1", "secret", "U1")).refused(Class::Forbidden, "expired");
        given([invited("h2", "secret"), joined("h1", "U1")]).when(join("h2", "secret", "U1")).refused(Class::Conflict, "host h1");
        given([])
            .when(InviteHost { host: "a.b".into(), hash: String::new(), expires_at: NOW.plus_secs(9) })
            .refused(Class::Invalid, "name");
    }

    #[test]
    fn losing_and_returning_happen_once_each() {
        let lost = HostEvent::HostLost { id: "h1".into(), last_seen: NOW };
        let cloud = with_h1().when(LoseHost { host: "h1".into(), last_seen: NOW }).then([lost.clone().into()]);
        assert!(cloud.hosts.get(&"h1".into()).is_some_and(|h| !h.takes_instances()));
        let down = || given([joined("h1", "U1"), lost.clone().into()]);
        down().when(LoseHost { host: "h1".into(), last_seen: NOW }).then([]);
        down().when(ReturnHost { host: "h1".into() }).then([HostEvent::HostReturned { id: "h1".into() }.into()]);
        with_h1().when(ReturnHost { host: "h1".into() }).then([]);
    }

    #[test]
    fn what_is_so_already_leaves_no_event() {
        with_h1().when(EnableHost { host: "h1".into() }).then([]);
        with_h1().when(ForceDownHost { host: "h1".into(), forced_down: false }).then([]);
        let disable = || DisableHost { host: "h1".into(), reason: Some("maintenance".into()) };
        let cloud = with_h1().when(disable()).accepted();
        assert_eq!(cloud.hosts.get(&"h1".into()).and_then(|h| h.disabled_reason.clone()).as_deref(), Some("maintenance"));
        given([joined("h1", "U1"), HostEvent::HostDisabled { id: "h1".into(), reason: Some("maintenance".into()) }.into()])
            .when(disable())
            .then([]);
        with_h1().when(EnableHost { host: "h9".into() }).refused(Class::NotFound, "h9");
    }
}
