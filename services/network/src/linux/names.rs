//! What the things of a port and of a network are called on a host. Invariant: every name fits the kernel's 15 bytes and says by
//! its first 11 characters of an id whose it is, as Neutron's does.

use std::path::{Path, PathBuf};
use strata_events::{NetworkId, PortId};

fn short(id: impl std::fmt::Display) -> String {
    id.to_string().chars().take(11).collect()
}

/// The port's tap.
pub fn tap(port: &PortId) -> String {
    format!("tap{}", short(port))
}
/// The network's bridge.
pub fn bridge(network: &NetworkId) -> String {
    format!("brq{}", short(network))
}
/// The bridge's end of the veth to the network's namespace.
pub fn host_end(network: &NetworkId) -> String {
    format!("dhc{}", short(network))
}
/// The end of it in the namespace.
pub fn namespace_end(network: &NetworkId) -> String {
    format!("ns-{}", short(network))
}
/// The network's namespace, from which DHCP and metadata are served.
pub fn namespace(directory: &Path, network: &NetworkId) -> PathBuf {
    directory.join(format!("strata-{network}"))
}
