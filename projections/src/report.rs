//! What a worker tells the conductor, by NATS request/reply. A report states what is; it may be late, lost or repeated, and
//! saying it again changes nothing. The subject names the host, and its credentials let a host use only its own.

use serde::{Deserialize, Serialize};
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_events::{InstanceId, PortId};

/// The subject on which a host reports: `report.<host>.<what>`, what being `observed` or `lease`.
pub fn subject(host: &strata_events::HostName, what: &str) -> String {
    format!("report.{host}.{what}")
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// An instance of this generation is in this power state; so many of its reboots were done and so many of the operations
    /// asked for were seen to (an observation from before the latest says nothing about it).
    Instance { id: InstanceId, generation: u32, power: Power, reboots: u32, asks: u32 },
    /// Nothing of the instance is left on this host.
    InstanceAbsent { id: InstanceId, generation: u32 },
    /// The last thing asked could not be done; `reason` is for the user.
    InstanceFailed { id: InstanceId, generation: u32, asks: u32, reason: String },
    /// The port exists here.
    PortPlugged { id: PortId },
    /// The port can't be made; `reason` is for the user.
    PortFailed { id: PortId, reason: String },
    /// Nothing of the port is left here.
    PortAbsent { id: PortId },
    /// What the host has.
    Inventory { inventory: Inventory },
}

/// What travels on `report.<host>.observed`: several observations, at most [`BATCH`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    pub reports: Vec<Report>,
}
/// The most observations in one message.
pub const BATCH: usize = 256;

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Taken in and durable.
    Taken,
    /// Not now: say it again later.
    Later { reason: String },
    /// Never: the host is not known, or the message makes no sense.
    Refused { reason: String },
}

/// What travels on `report.<host>.lease`: the host asks to keep running things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Counts up with each request of one worker process.
    pub sequence: u64,
}
/// The answer: from the moment the request was sent the lease holds this long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub millis: u64,
}
