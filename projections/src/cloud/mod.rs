//! `Cloud`: the whole control-plane state as one value, folded from the log.
//!
//! One noun, one file. Each gives its part of the state and `apply`, which is total: an event that does not fit is a
//! `CannotApply`, which stops the replica and names the position; it is never skipped (invariant 3).

pub mod addresses;
mod counts;
mod table;

pub mod access_rule;
pub mod application_credential;
pub mod assignment;
pub mod catalog;
pub mod credential;
pub mod domain;
pub mod flavor;
pub mod group;
pub mod host;
pub mod image;
pub mod instance;
pub mod keypair;
pub mod network;
pub mod policy;
pub mod port;
pub mod project;
pub mod quota;
pub mod role;
mod secret;
pub mod security_group;
pub mod server_group;
pub mod subnet;
pub mod token;
pub mod trust;
pub mod user;

pub use table::Table;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strata_events::{Actor, Event, Hash, Recorded, Stream, Timestamp};
use uuid::Uuid;

/// An event does not fit the state that came before it: the log and this program disagree. The replica stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {position} ({event}) cannot apply: {why}")]
pub struct CannotApply {
    pub position: u64,
    pub event: String,
    pub why: String,
}

/// What `apply` may know of the envelope.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    pub position: u64,
    pub at: Timestamp,
    pub actor: &'a Actor,
    pub request_id: &'a str,
}

/// The state of the cloud at a position of the log. Cloning costs a few dozen reference counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cloud {
    /// The position up to which the log is folded in; 0 is nothing.
    pub position: u64,
    /// When that event was recorded.
    pub at: Timestamp,
    /// The last version of every stream that may still grow.
    versions: OrdMap<u128, u32>,

    pub access_rules: access_rule::AccessRules,
    pub application_credentials: application_credential::ApplicationCredentials,
    pub assignments: assignment::Assignments,
    pub catalog: catalog::Catalog,
    pub credentials: credential::Credentials,
    pub domains: domain::Domains,
    pub flavors: flavor::Flavors,
    pub groups: group::Groups,
    pub hosts: host::Hosts,
    pub images: image::Images,
    pub instances: instance::Instances,
    pub keypairs: keypair::Keypairs,
    pub networks: network::Networks,
    pub policies: policy::Policies,
    pub ports: port::Ports,
    pub projects: project::Projects,
    pub quotas: quota::Quotas,
    pub roles: role::Roles,
    pub security_groups: security_group::SecurityGroups,
    pub server_groups: server_group::ServerGroups,
    pub subnets: subnet::Subnets,
    pub tokens: token::Tokens,
    pub trusts: trust::Trusts,
    pub users: user::Users,
}

impl Cloud {
    /// Folds in the next event. On an error the value is useless and must be dropped.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<(), CannotApply> {
        self.place(recorded).and_then(|()| self.fold(recorded)).map_err(|e| CannotApply {
            position: recorded.position,
            event: recorded.event.type_name().into(),
            ..e
        })
    }

    /// The version that the next event of this stream gets.
    pub fn next_version(&self, stream: &Stream) -> u32 {
        self.versions.get(&stream_key(stream)).copied().unwrap_or(0) + 1
    }

    /// SHA-256 over the canonical form: equal values have equal digests on every replica.
    pub fn digest(&self) -> Hash {
        struct Sink(Sha256);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut sink = std::io::BufWriter::new(Sink(Sha256::new()));
        // Writing to a hash can't fail, and every type in Cloud is plain data.
        ciborium::into_writer(self, &mut sink).unwrap_or_else(|e| unreachable!("Cloud is plain data: {e}"));
        let sink = sink.into_inner().unwrap_or_else(|_| unreachable!("a hash takes every byte"));
        Hash(sink.0.finalize().into())
    }

    /// The value as CBOR, for a snapshot.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).unwrap_or_else(|e| unreachable!("Cloud is plain data: {e}"));
        bytes
    }

    /// Reads a snapshot back. An error means that it was written by another version: fold the log instead.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Cloud, String> {
        ciborium::from_reader(bytes).map_err(|e| e.to_string())
    }

    /// Checks position and version (invariant 1) and notes them.
    fn place(&mut self, recorded: &Recorded) -> Result<(), CannotApply> {
        if recorded.position != self.position + 1 {
            return Err(CannotApply::because(format!("position {} follows {}", recorded.position, self.position)));
        }
        let version = self.versions.entry(stream_key(&recorded.event.stream())).or_insert(0);
        if recorded.version != *version + 1 {
            return Err(CannotApply::because(format!("version {} follows {} in {}", recorded.version, version, recorded.event.stream())));
        }
        *version += 1;
        self.position = recorded.position;
        self.at = recorded.recorded_at;
        Ok(())
    }

    /// A stream whose id will never be used again has ended: nothing of it is kept.
    fn end_of_stream(&mut self, kind: &str, id: Uuid) {
        self.versions.remove(&uuid_key(kind, id));
    }

    fn fold(&mut self, recorded: &Recorded) -> Result<(), CannotApply> {
        let stamp =
            Stamp { position: recorded.position, at: recorded.recorded_at, actor: &recorded.actor, request_id: &recorded.request_id };
        match &recorded.event {
            Event::AccessRule(e) => access_rule::apply(self, e, &stamp),
            Event::ApplicationCredential(e) => application_credential::apply(self, e, &stamp),
            Event::Assignment(e) => assignment::apply(self, e, &stamp),
            Event::Catalog(e) => catalog::apply(self, e, &stamp),
            Event::Credential(e) => credential::apply(self, e, &stamp),
            Event::Domain(e) => domain::apply(self, e, &stamp),
            Event::Flavor(e) => flavor::apply(self, e, &stamp),
            Event::Group(e) => group::apply(self, e, &stamp),
            Event::Host(e) => host::apply(self, e, &stamp),
            Event::Image(e) => image::apply(self, e, &stamp),
            Event::Instance(e) => instance::apply(self, e, &stamp),
            Event::Keypair(e) => keypair::apply(self, e, &stamp),
            Event::Network(e) => network::apply(self, e, &stamp),
            Event::Policy(e) => policy::apply(self, e, &stamp),
            Event::Port(e) => port::apply(self, e, &stamp),
            Event::Project(e) => project::apply(self, e, &stamp),
            Event::Quota(e) => quota::apply(self, e, &stamp),
            Event::Role(e) => role::apply(self, e, &stamp),
            Event::SecurityGroup(e) => security_group::apply(self, e, &stamp),
            Event::ServerGroup(e) => server_group::apply(self, e, &stamp),
            Event::Subnet(e) => subnet::apply(self, e, &stamp),
            Event::Token(e) => token::apply(self, e, &stamp),
            Event::Trust(e) => trust::apply(self, e, &stamp),
            Event::User(e) => user::apply(self, e, &stamp),
        }
    }
}

fn stream_key(stream: &Stream) -> u128 {
    match Uuid::try_parse(&stream.id) {
        Ok(id) => uuid_key(&stream.kind, id),
        Err(_) => {
            let hash = Sha256::digest(format!("{}/{}", stream.kind, stream.id));
            u128::from_be_bytes(std::array::from_fn(|i| hash[i]))
        }
    }
}

/// One UUID may name streams of several kinds (a domain and its project): the kind is mixed in.
fn uuid_key(kind: &str, id: Uuid) -> u128 {
    let kind = kind.bytes().fold(0u128, |hash, b| hash.wrapping_mul(0x0100_0000_01b3) ^ u128::from(b));
    id.as_u128().rotate_left(1) ^ kind
}
