//! The services behind the one port, and where each is mounted.

/// Which OpenStack service a call is for: it decides the shape of faults and the microversion header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    Identity,
    Compute,
    Image,
    Network,
    /// Strata's own calls: hosts joining, status.
    Strata,
}

impl Service {
    /// The first path segments under which a service answers; identity also answers at the root, where clients look first.
    pub fn of_path(path: &str) -> Service {
        match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
            "compute" => Service::Compute,
            "image" => Service::Image,
            "network" => Service::Network,
            "strata" => Service::Strata,
            _ => Service::Identity,
        }
    }
    /// The largest body in bytes that is read for a call of this service (uploads are streamed and have their own bound).
    pub fn body_limit(self) -> usize {
        match self {
            // Nova's and Keystone's max_request_body_size
            Service::Identity | Service::Compute => 114_688,
            Service::Image | Service::Network | Service::Strata => 1 << 20,
        }
    }
}
