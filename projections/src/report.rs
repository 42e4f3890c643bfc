//! What a worker tells the conductor, by NATS request/reply. A report states what is; it may be late, lost or repeated, and
//! saying it again changes nothing. The subject names the host, and its credentials let a host use only its own.

use serde::{Deserialize, Serialize};
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_events::{HostName, ImageId, InstanceId, PortId, SecretId};

/// The subject on which a host reports: `report.<host>.<what>`, what being `observed` or `lease`.
pub fn subject(host: &HostName, what: &str) -> String {
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
    /// The last thing asked could not be done; `reason` is for the user. What it left the instance in, if that is known.
    InstanceFailed {
        id: InstanceId,
        generation: u32,
        asks: u32,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        power: Option<Power>,
    },
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
    /// Taken in; but these are not this host's, as of this position of the log: a plan of before (NATS may forget the last
    /// moments when it is killed) had them made again. Nothing of them shall be left.
    Strays {
        position: u64,
        /// Ports carry nothing that could be lost: that the log does not know them here is enough.
        ports: Vec<PortId>,
        /// Servers only of which the log says that they were deleted.
        #[serde(default)]
        instances: Vec<InstanceId>,
    },
    /// Not now: say it again later.
    Later { reason: String },
    /// Never: the host is not known, or the message makes no sense.
    Refused { reason: String },
}

/// What a worker process sees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instances
    Compute,
    /// Ports, DHCP and metadata
    Network,
    /// Both, as simulated hosts do
    #[default]
    All,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Compute, Role::Network, Role::All];
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Compute => "compute",
            Role::Network => "network",
            Role::All => "all",
        }
    }
}
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What travels on `report.<host>.lease`: a worker of the host asks to keep running things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Counts up with each request of one worker process.
    pub sequence: u64,
    #[serde(default)]
    pub role: Role,
}
/// The answer: from the moment the request was sent the lease holds this long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub millis: u64,
}

/// What travels on `report.<host>.secret`: a host asks for what its plan only names, a server's user data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    pub id: SecretId,
    /// The public half of the key that the host made to be answered with.
    pub seal_to: String,
    /// By the host's own key, of [`SecretRequest::signed`].
    pub signature: String,
}
impl SecretRequest {
    /// The text that the host signs.
    pub fn signed(host: &HostName, id: &SecretId, seal_to: &str) -> String {
        format!("secret {host} {id} {seal_to}")
    }
}
/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretAnswer {
    /// Sealed to the key of the request: `sender` is the public half of the key that sealed it, `text` is base64.
    Sealed { sender: String, text: String },
    /// Not now: ask again later.
    Later { reason: String },
    /// Nothing on this host needs it.
    Refused { reason: String },
}

/// What travels on `report.<host>.password`: a guest leaves a password for its owner, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordReport {
    pub id: InstanceId,
    /// Encrypted by the guest with its owner's public key.
    pub password: String,
}
/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordAnswer {
    Kept,
    /// There is one already.
    There,
    Later {
        reason: String,
    },
    Refused {
        reason: String,
    },
}

/// The text that a host signs to fetch the data of an image: good for [`IMAGE_SECONDS`] around `at` (Unix seconds).
pub fn image_request(host: &HostName, image: &ImageId, at: i64) -> String {
    format!("image {host} {image} {at}")
}
/// How far a host's clock may be off.
pub const IMAGE_SECONDS: i64 = 300;

/// What travels on `ask.<host>.console`: the end of a server's console log, for a user who may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleRequest {
    pub id: InstanceId,
    /// None: all that fits.
    pub lines: Option<u32>,
}
/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleAnswer {
    Text {
        text: String,
    },
    /// The sentence is for the user.
    Failed {
        reason: String,
    },
}
/// The longest text in a [`ConsoleAnswer`], in bytes: a NATS message holds 1 MiB, and control characters grow sixfold in JSON.
pub const CONSOLE_BYTES: usize = 150 << 10;

/// What a worker answers on `ask.<host>.condition.<role>`: whether it can do its work now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What keeps it from working, in the operator's words.
    pub trouble: Option<String>,
}

/// The subject on which a host is asked something: `ask.<host>.<what>`.
pub fn ask(host: &HostName, what: &str) -> String {
    format!("ask.{host}.{what}")
}
