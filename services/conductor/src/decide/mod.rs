//! What may be asked of the cloud, a file a noun.

pub mod application_credential;
pub mod assignment;
pub mod bootstrap;
pub mod catalog;
pub mod credential;
pub mod domain;
pub mod flavor;
pub mod group;
pub mod identity;
pub mod image;
pub mod instance;
pub mod keypair;
pub mod project;
pub mod quota;
pub mod role;
pub mod server_group;
pub mod token;
pub mod user;
