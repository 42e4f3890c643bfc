//! What may be asked of the cloud, a file a noun.

pub mod address;
pub mod application_credential;
pub mod assignment;
pub mod bootstrap;
pub mod catalog;
pub mod credential;
pub mod distributed;
pub mod domain;
pub mod flavor;
pub mod group;
pub mod host;
pub mod identity;
pub mod image;
pub mod instance;
pub mod keypair;
pub mod network;
pub mod policy;
pub mod pools;
pub mod port;
pub mod project;
mod protocol;
pub mod quota;
pub mod report;
pub mod role;
pub mod security_group;
pub mod server_group;
pub mod subnet;
pub mod tags;
pub mod token;
pub mod trust;
pub mod user;

#[cfg(test)]
mod plans_tests;
