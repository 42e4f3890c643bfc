//! The compute API (Nova v2.1). Source: compute api-ref; nova's doc/api_samples for the exact shapes.

mod aggregates;
mod availability_zones;
mod compute_services;
mod extensions;
mod flavor_access;
mod flavor_specs;
mod flavors;
mod hypervisors;
mod instance_actions;
mod instance_history;
mod keypairs;
mod limits;
mod quota_sets;
mod secrets;
mod security_groups;
mod server_actions;
mod server_create;
mod server_groups;
mod server_interfaces;
mod server_ips;
mod server_list;
mod server_metadata;
mod server_password;
mod server_tags;
mod server_view;
mod servers;
mod times;
mod versions;

pub use secrets::Compute;

use crate::frame::{Microversion, Routes};

pub const MIN_VERSION: Microversion = Microversion(2, 1);
pub const MAX_VERSION: Microversion = Microversion(2, 96);

pub fn routes(r: &mut Routes) {
    r.alias("/v2.1", "/v2");
    versions::routes(r);
    extensions::routes(r);
    flavors::routes(r);
    flavor_specs::routes(r);
    flavor_access::routes(r);
    keypairs::routes(r);
    servers::routes(r);
    server_ips::routes(r);
    server_metadata::routes(r);
    server_password::routes(r);
    server_tags::routes(r);
    server_interfaces::routes(r);
    instance_actions::routes(r);
    security_groups::routes(r);
    server_groups::routes(r);
    limits::routes(r);
    quota_sets::routes(r);
    hypervisors::routes(r);
    compute_services::routes(r);
    aggregates::routes(r);
    availability_zones::routes(r);
}

#[cfg(test)]
mod tests {
    use crate::frame::{Microversion, Service};

    #[test]
    fn every_route_can_be_told_from_the_others_and_none_admits_without_a_token_but_the_versions() {
        let routes = crate::frame::app::routes();
        let open: Vec<_> = routes.all().filter(|r| r.service == Service::Compute && r.rule.is_public()).map(|r| r.path.as_str()).collect();
        assert_eq!(open, ["", "/v2.1"]);
        assert!(super::MIN_VERSION < super::MAX_VERSION && super::MAX_VERSION <= Microversion(2, 104));
    }
}
