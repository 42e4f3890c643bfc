//! What a guest is told about itself, in the words of OpenStack's and EC2's metadata services.
//!
//! - [`Guest`] and what is made from it ([`openstack`], [`ec2`], [`lookup()`]) are pure: a plan, user data and a seed in, bytes out.
//! - [`config_drive_files`] are the same bytes, as files.
//! - [`server`] answers guests over HTTP: one listener a network, inside that network's namespace.
//!
//! **Invariant: who asks is known from the network that the connection came in on and from its source, and from nothing that a
//! guest can write into a request.**

pub mod ec2;
pub mod guest;
pub mod lookup;
mod network_data;
pub mod openstack;
pub mod server;

pub use guest::{Guest, SEED};
pub use lookup::{Document, lookup};
pub use server::Metadata;

use strata_projections::plan::instance::InstancePlan;

/// The files of the config drive (label `config-2`), by path. Each call has another `random_seed`: make them once in the life
/// of a drive.
pub fn config_drive_files(plan: &InstancePlan, user_data: Option<&[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut seed = [0; SEED];
    // Without a source of randomness the guest is told none, rather than one that can be guessed.
    let seed = getrandom::fill(&mut seed).is_ok().then_some(&seed);
    let guest = Guest { plan, user_data, seed };
    ec2::files(&guest).into_iter().chain(openstack::files(&guest)).collect()
}
