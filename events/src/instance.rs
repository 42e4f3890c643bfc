//! What can happen to an instance (a server, in the API's words). Each transient state begins with an event that names its
//! deadline, and ends with the event that a host reported or with InstanceActionFailed (invariant 7).

use crate::{FlavorId, HostName, ImageId, InstanceId, PortId, ProjectId, SecretId, ServerGroupId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The flavor as it was when the instance was requested; later changes to the flavor don't reach it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Size {
    pub flavor: FlavorId,
    pub name: String,
    pub vcpus: u32,
    /// MiB
    pub ram: u64,
    /// GiB
    pub disk: u64,
    /// GiB
    pub ephemeral: u64,
    /// MiB
    pub swap: u64,
    pub extra_specs: BTreeMap<String, String>,
}

/// What was asked for when the instance was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InstanceSpec {
    pub name: String,
    pub description: Option<String>,
    pub hostname: String,
    pub size: Size,
    pub image: Option<ImageId>,
    /// The keypair's name and public key as they were.
    pub key_name: Option<String>,
    pub public_key: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// In the order of the guest's NICs.
    pub ports: Vec<PortId>,
    /// Those of `ports` that were made for this instance and go with it.
    pub own_ports: Vec<PortId>,
    pub config_drive: bool,
    pub user_data: Option<SecretId>,
    pub disk_config_auto: bool,
    /// Addresses that the user says it is reached by; nothing follows from them.
    pub access_ipv4: Option<Ipv4Addr>,
    pub access_ipv6: Option<Ipv6Addr>,
    /// The zone asked for; none is any.
    pub zone: Option<String>,
    /// The host asked for (`zone:host`, or `host`); admins only.
    pub wanted_host: Option<HostName>,
    /// Scheduler hints as given.
    pub hints: Map<String, Value>,
    pub group: Option<ServerGroupId>,
    /// Of the call; the servers of one multi-create share it.
    pub reservation: String,
    pub launch_index: u32,
}

/// What runs, as far as the hypervisor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Power {
    Running,
    Paused,
    Stopped,
    Suspended,
    Crashed,
}

/// What a user may ask of a placed instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Operation {
    Start,
    Stop,
    RebootSoft,
    RebootHard,
    Pause,
    Unpause,
    Suspend,
    Resume,
    Delete,
}

aggregate! {
    /// Events of one instance.
    pub enum InstanceEvent: "instance" {
        /// Accepted; it waits for a host (BUILD).
        InstanceRequested { id: InstanceId, project: ProjectId, user: UserId, spec: InstanceSpec, deadline: Timestamp },
        /// It shall run on this host, in this generation. Its resources are allocated there.
        InstancePlaced { id: InstanceId, host: HostName, generation: u32 },
        /// No host can take it (ERROR). `hosts` tells why, host by host; at most 100 of them.
        InstanceUnplaceable { id: InstanceId, reason: String, hosts: BTreeMap<String, String> },
        /// The host reports it running for the first time (ACTIVE).
        InstanceStarted { id: InstanceId, host: HostName, generation: u32 },
        /// The host could not build it (ERROR), and says why.
        InstanceBuildFailed { id: InstanceId, reason: String },
        /// A user asked for this; the host has until `deadline`.
        InstanceOperationRequested { id: InstanceId, operation: Operation, deadline: Timestamp },
        /// The host reports it done.
        InstanceOperationDone { id: InstanceId, operation: Operation },
        /// It did not happen: the host said why, or the deadline passed.
        InstanceOperationFailed { id: InstanceId, operation: Operation, reason: String },
        /// The host reports another power state than the one last known, and nobody asked for it.
        InstancePowerObserved { id: InstanceId, power: Power },
        /// Name, description or hostname changed; those absent stayed.
        InstanceUpdated { id: InstanceId, name: Option<String>, #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            description: Option<Option<String>>, hostname: Option<String>, disk_config_auto: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            access_ipv4: Option<Option<Ipv4Addr>>,
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::given")]
            access_ipv6: Option<Option<Ipv6Addr>> },
        /// The metadata are these from now on.
        InstanceMetadataSet { id: InstanceId, metadata: BTreeMap<String, String> },
        /// The guest left an administrator's password for its owner, encrypted by the guest with the owner's public key.
        InstancePasswordKept { id: InstanceId, password: String },
        /// The owner has read it: it is forgotten.
        InstancePasswordCleared { id: InstanceId },
        /// The tags are these from now on.
        InstanceTagsSet { id: InstanceId, tags: Vec<String> },
        /// Only admins may act on it until it is unlocked.
        InstanceLocked { id: InstanceId, by_admin: bool, reason: Option<String> },
        /// Its owner may act on it again.
        InstanceUnlocked { id: InstanceId },
        /// A port was plugged into or out of it: the ports are these from now on.
        InstancePortsChanged { id: InstanceId, ports: Vec<PortId>, own_ports: Vec<PortId> },
        /// Its host reports that nothing of it is left there, although nobody deleted it: it failed to build. The allocation is
        /// free; it stays in ERROR without a host, so that its owner can read why.
        InstanceReleased { id: InstanceId },
        /// An admin says that it is well (ACTIVE) or not (ERROR); the host's next report says what is true.
        InstanceStateReset { id: InstanceId, error: bool },
        /// Nothing of it is left on its host; its resources are free. Its ports go or are freed in the same transaction.
        InstanceDeleted { id: InstanceId },
    }
}
