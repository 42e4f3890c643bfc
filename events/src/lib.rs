//! The facts: what can happen in a Strata cloud, one enum per aggregate, and the envelope that records each fact.
//!
//! **Invariant: this crate is pure.** No I/O, no clock, no randomness; time and ids arrive from outside. The log that
//! stores the facts is `strata-log` (events/log), what they mean is `strata-projections`.
//!
//! Adding an aggregate: a file here with an `aggregate!`, a line in `events!` below, then `cargo test -p strata-events`
//! tells which recorded sample is missing in schema/events/.

#[macro_use]
mod aggregate;
mod envelope;
mod id;
mod time;
mod wire;

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
pub mod security_group;
pub mod server_group;
pub mod subnet;
pub mod token;
pub mod trust;
pub mod user;

pub use envelope::{Actor, Chained, Hash, Recorded, Stream};
pub use id::*;
pub use time::{BadTime, Timestamp};
pub use wire::DecodeError;

events! {
    AccessRule(access_rule::AccessRuleEvent),
    ApplicationCredential(application_credential::ApplicationCredentialEvent),
    Assignment(assignment::AssignmentEvent),
    Catalog(catalog::CatalogEvent),
    Credential(credential::CredentialEvent),
    Domain(domain::DomainEvent),
    Flavor(flavor::FlavorEvent),
    Group(group::GroupEvent),
    Host(host::HostEvent),
    Image(image::ImageEvent),
    Instance(instance::InstanceEvent),
    Keypair(keypair::KeypairEvent),
    Network(network::NetworkEvent),
    Policy(policy::PolicyEvent),
    Port(port::PortEvent),
    Project(project::ProjectEvent),
    Quota(quota::QuotaEvent),
    Role(role::RoleEvent),
    SecurityGroup(security_group::SecurityGroupEvent),
    ServerGroup(server_group::ServerGroupEvent),
    Subnet(subnet::SubnetEvent),
    Token(token::TokenEvent),
    Trust(trust::TrustEvent),
    User(user::UserEvent),
}
