//! What can happen to a host: a machine whose workers run instances. Heartbeats are not here, only their loss and return.
use crate::{HostName, Timestamp};
use serde::{Deserialize, Serialize};

/// What a host has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inventory {
    pub vcpus: u32,
    /// MiB
    pub memory: u64,
    /// GiB
    pub disk: u64,
    /// `QEMU`, or `simulated`
    pub hypervisor_type: String,
    /// As libvirt counts: 7002022 is 7.2.22.
    pub hypervisor_version: u64,
    pub cpu_arch: String,
    pub host_ip: String,
}

aggregate! {
    /// Events of one host.
    pub enum HostEvent: "host" {
        /// A token was issued with which one host of this name may join until `expires_at`. `hash` is the token's SHA-256.
        HostInvited { id: HostName, hash: String, expires_at: Timestamp },
        /// The host joined with its NATS public key (nkey), which is all that it can report as.
        HostJoined { id: HostName, public_key: String, zone: String, inventory: Inventory },
        /// What it has changed.
        HostInventoryChanged { id: HostName, inventory: Inventory },
        /// Its lease ran out: it starts nothing, and nothing is placed there.
        HostLost { id: HostName, last_seen: Timestamp },
        /// It renewed its lease.
        HostReturned { id: HostName },
        /// An admin stopped placements there.
        HostDisabled { id: HostName, reason: Option<String> },
        /// And allowed them again.
        HostEnabled { id: HostName },
        /// An admin declared it down (or no more): Nova's forced_down.
        HostForcedDown { id: HostName, forced_down: bool },
        /// An admin wrote down what there is to know of it.
        HostDescribed { id: HostName, description: String },
        /// The host left for good; nothing was on it.
        HostRemoved { id: HostName },
    }
}
