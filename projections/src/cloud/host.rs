//! Hosts. Invariants: a host's allocation is the sum over the instances placed there (4); a host that lost its lease is down
//! and gets nothing new (6).

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use strata_events::host::{HostEvent, Inventory};
use strata_events::instance::Size;
use strata_events::{HostName, Timestamp};

/// What the instances placed on a host were promised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    pub instances: u32,
    pub vcpus: u32,
    /// MiB
    pub memory: u64,
    /// GiB, root and ephemeral, and swap rounded up
    pub disk: u64,
}

impl Allocation {
    pub fn of(size: &Size) -> Self {
        Self { instances: 1, vcpus: size.vcpus, memory: size.ram, disk: size.disk + size.ephemeral + size.swap.div_ceil(1024) }
    }
    pub fn plus(self, other: Self) -> Self {
        Self {
            instances: self.instances + other.instances,
            vcpus: self.vcpus + other.vcpus,
            memory: self.memory + other.memory,
            disk: self.disk + other.disk,
        }
    }
    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            instances: self.instances.checked_sub(other.instances)?,
            vcpus: self.vcpus.checked_sub(other.vcpus)?,
            memory: self.memory.checked_sub(other.memory)?,
            disk: self.disk.checked_sub(other.disk)?,
        })
    }
}

/// How many times over a host's resources may be promised. Nova's defaults for vCPU; memory and disk as they are.
pub const VCPU_RATIO: u32 = 16;

/// A machine that runs instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub name: HostName,
    /// nkey, the only identity that may report for it
    pub public_key: String,
    pub zone: String,
    pub inventory: Inventory,
    pub used: Allocation,
    /// Its lease holds.
    pub up: bool,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    pub forced_down: bool,
    /// An admin's words; empty at first.
    pub description: String,
    pub joined_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Host {
    /// Whether the scheduler may think of it at all.
    pub fn takes_instances(&self) -> bool {
        self.up && self.enabled && !self.forced_down
    }
    /// Why this much more does not fit, in the words of the operator; none when it does.
    pub fn lacks(&self, more: Allocation) -> Option<String> {
        self.lacks_beside(self.used, more)
    }
    /// The same as if `used` were allocated there: for a scheduler that plans several placements at once.
    pub fn lacks_beside(&self, used: Allocation, more: Allocation) -> Option<String> {
        let want = used.plus(more);
        let vcpus = self.inventory.vcpus * VCPU_RATIO;
        if more.vcpus > self.inventory.vcpus {
            Some(format!("has {} CPUs, fewer than the {} vCPUs of one server", self.inventory.vcpus, more.vcpus))
        } else if want.vcpus > vcpus {
            Some(format!("vCPUs: {} used of {vcpus}, {} more wanted", used.vcpus, more.vcpus))
        } else if want.memory > self.inventory.memory {
            Some(format!("memory: {} MiB used of {}, {} more wanted", used.memory, self.inventory.memory, more.memory))
        } else if want.disk > self.inventory.disk {
            Some(format!("disk: {} GiB used of {}, {} more wanted", used.disk, self.inventory.disk, more.disk))
        } else {
            None
        }
    }
}

/// A token with which a host may join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// SHA-256 of the token, hex.
    pub hash: String,
    pub expires_at: Timestamp,
}

/// The hosts that joined and those that may.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hosts {
    all: Table<HostName, Host>,
    pub invitations: Table<HostName, Invitation>,
    /// Keys that were a host's and are no more: whoever still has one must not be let in with it.
    revoked: OrdSet<String>,
}

impl std::ops::Deref for Hosts {
    type Target = Table<HostName, Host>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Hosts {
    /// The public keys of hosts that were removed, or that joined again with another.
    pub fn revoked(&self) -> &OrdSet<String> {
        &self.revoked
    }
    pub(super) fn allocate(&mut self, host: &HostName, what: Allocation) -> Result<(), CannotApply> {
        self.all.change(host, |h| h.used = h.used.plus(what))
    }
    pub(super) fn free(&mut self, host: &HostName, what: Allocation) -> Result<(), CannotApply> {
        self.all.change(host, |h| match h.used.minus(what) {
            Some(used) => {
                h.used = used;
                Ok(())
            }
            None => Err(CannotApply::because(format!("host {} would have less than nothing allocated", h.name))),
        })?
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &HostEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let hosts = &mut cloud.hosts;
    let mut edit = |id: &HostName, f: &mut dyn FnMut(&mut Host)| {
        hosts.all.change(id, |host| {
            f(host);
            host.updated_at = stamp.at;
        })
    };
    match event {
        HostEvent::HostInvited { id, hash, expires_at } => {
            hosts.invitations.put(id.clone(), Invitation { hash: hash.clone(), expires_at: *expires_at });
            Ok(())
        }
        HostEvent::HostJoined { id, public_key, zone, inventory } => {
            let _ = hosts.invitations.remove(id);
            let known = hosts.all.get(id).cloned();
            hosts.revoked.extend(known.iter().map(|h| h.public_key.clone()));
            hosts.revoked.remove(public_key);
            let joined_at = known.as_ref().map_or(stamp.at, |h| h.joined_at);
            let host = Host {
                name: id.clone(),
                public_key: public_key.clone(),
                zone: zone.clone(),
                inventory: inventory.clone(),
                used: known.as_ref().map(|h| h.used).unwrap_or_default(),
                up: true,
                enabled: known.as_ref().is_none_or(|h| h.enabled),
                disabled_reason: known.as_ref().and_then(|h| h.disabled_reason.clone()),
                forced_down: false,
                description: known.as_ref().map(|h| h.description.clone()).unwrap_or_default(),
                joined_at,
                updated_at: stamp.at,
            };
            hosts.all.put(id.clone(), host);
            Ok(())
        }
        HostEvent::HostInventoryChanged { id, inventory } => edit(id, &mut |h| h.inventory = inventory.clone()),
        HostEvent::HostLost { id, last_seen: _ } => edit(id, &mut |h| h.up = false),
        HostEvent::HostReturned { id } => edit(id, &mut |h| h.up = true),
        HostEvent::HostDisabled { id, reason } => edit(id, &mut |h| {
            h.enabled = false;
            h.disabled_reason = reason.clone();
        }),
        HostEvent::HostEnabled { id } => edit(id, &mut |h| {
            h.enabled = true;
            h.disabled_reason = None;
        }),
        HostEvent::HostForcedDown { id, forced_down } => edit(id, &mut |h| h.forced_down = *forced_down),
        HostEvent::HostDescribed { id, description } => edit(id, &mut |h| h.description = description.clone()),
        HostEvent::HostRemoved { id } => {
            let host = hosts.all.remove(id)?;
            hosts.revoked.insert(host.public_key.clone());
            Ok(())
        }
    }
}
