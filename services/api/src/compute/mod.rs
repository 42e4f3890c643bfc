//! The compute API (Nova v2.1). Source: compute api-ref; nova's doc/api_samples for the exact shapes.

mod flavor_access;
mod flavor_specs;
mod flavors;
mod keypairs;
mod secrets;
mod server_actions;
mod server_create;
mod server_list;
mod server_view;
mod servers;

pub use secrets::Compute;

use crate::frame::{Microversion, Routes};

pub const MIN_VERSION: Microversion = Microversion(2, 1);
pub const MAX_VERSION: Microversion = Microversion(2, 96);

pub fn routes(r: &mut Routes) {
    flavors::routes(r);
    flavor_specs::routes(r);
    flavor_access::routes(r);
    keypairs::routes(r);
    servers::routes(r);
}
