//! What has to be changed so that a host's devices are as a port and its network want them. Pure: devices in, steps out; no step
//! when all is as it should be. A step may need what an earlier one makes, so this is asked again after each round.

use super::dhcp::METADATA;
use super::link::{Kind, Link, Links};
use super::names;
use super::netns::Identity;
use crate::DataplaneError;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use strata_events::port::MacAddress;
use strata_events::{NetworkId, PortId};
use strata_projections::plan::port::PlannedPlug;

/// The inside of a network's namespace.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    pub namespace: Option<Identity>,
    pub links: Links,
    /// Of the namespace's end of the veth.
    pub addresses: BTreeSet<IpNet>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    AddBridge {
        name: String,
        mac: MacAddress,
        mtu: u32,
    },
    AddTap {
        name: String,
    },
    AddNamespace,
    AddVeth {
        name: String,
        peer: String,
    },
    /// The veth's far end has lost its namespace, or never came to it.
    Delete {
        name: String,
        index: u32,
    },
    MoveInside {
        name: String,
        index: u32,
    },
    /// The same, of a device outside or inside the namespace.
    Set {
        inside: bool,
        name: String,
        index: u32,
        what: Setting,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    Mtu(u32),
    Mac(MacAddress),
    Up(bool),
    Master(u32),
    Address(IpNet),
    NoAddress(IpNet),
    /// The host is not to be reached on it by IPv6.
    NoIpv6,
    /// A bridge: what it carries is shown to the packet filter.
    Guarded,
}

/// Whether a network has a namespace here at all.
pub fn is_served(view: &PlannedPlug) -> bool {
    view.dhcp.as_ref().is_some_and(|d| !d.fixed_ips.is_empty())
}

/// The MAC of a network's bridge: fixed, so that it doesn't follow the ports that come and go.
fn bridge_mac(network: &NetworkId) -> MacAddress {
    let [a, b, c, d, e, ..] = *network.0.as_bytes();
    MacAddress([0xfe, a, b, c, d, e])
}

/// Finds a device, and refuses one of another kind under its name.
fn device<'a>(links: &'a Links, name: &str, kind: Kind) -> Result<Option<&'a Link>, DataplaneError> {
    match links.get(name) {
        Some(link) if link.kind != kind => Err(DataplaneError::Failed(format!(
            "this host has a device {name} that Strata did not make ({:?} instead of {kind:?}): remove or rename it",
            link.kind
        ))),
        found => Ok(found),
    }
}

fn settings(steps: &mut Vec<Step>, inside: bool, name: &str, link: &Link, wanted: impl IntoIterator<Item = Setting>) {
    for what in wanted {
        let differs = match &what {
            Setting::Mtu(mtu) => link.mtu != *mtu,
            Setting::Mac(mac) => link.mac != mac.0,
            Setting::Up(up) => link.up != *up,
            Setting::Master(index) => link.master != Some(*index),
            Setting::Address(_) | Setting::NoAddress(_) => true,
            Setting::NoIpv6 => link.ipv6,
            Setting::Guarded => !link.guarded,
        };
        if differs {
            steps.push(Step::Set { inside, name: name.to_owned(), index: link.index, what });
        }
    }
}

/// The steps to a network's bridge, namespace and the veth between them.
pub fn network(id: &NetworkId, view: &PlannedPlug, links: &Links, inside: &Inside) -> Result<Vec<Step>, DataplaneError> {
    let mut steps = vec![];
    let mtu = u32::from(view.mtu);
    let bridge = names::bridge(id);
    let Some(found) = device(links, &bridge, Kind::Bridge)? else {
        return Ok(vec![Step::AddBridge { name: bridge, mac: bridge_mac(id), mtu }]);
    };
    settings(&mut steps, false, &bridge, found, [Setting::Guarded, Setting::NoIpv6, Setting::Mtu(mtu), Setting::Up(true)]);
    let (near, far) = (names::host_end(id), names::namespace_end(id));
    let near_link = device(links, &near, Kind::Veth)?;
    if !is_served(view) {
        steps.extend(near_link.map(|l| Step::Delete { name: near, index: l.index }));
        return Ok(steps);
    }
    if inside.namespace.is_none() {
        steps.push(Step::AddNamespace);
        return Ok(steps);
    }
    let Some(near_link) = near_link else {
        steps.push(Step::AddVeth { name: near, peer: far });
        return Ok(steps);
    };
    let Some(far_link) = inside.links.get(&far) else {
        match links.get(&far) {
            Some(peer) => steps.push(Step::MoveInside { name: far, index: peer.index }),
            None => steps.push(Step::Delete { name: near, index: near_link.index }),
        }
        return Ok(steps);
    };
    settings(&mut steps, false, &near, near_link, [Setting::NoIpv6, Setting::Mtu(mtu), Setting::Master(found.index), Setting::Up(true)]);
    let mac = view.dhcp.as_ref().map(|d| Setting::Mac(d.mac));
    settings(&mut steps, true, &far, far_link, [Setting::Mtu(mtu)].into_iter().chain(mac).chain([Setting::Up(true)]));
    if let Some(lo) = inside.links.get("lo") {
        settings(&mut steps, true, "lo", lo, [Setting::Up(true)]);
    }
    let wanted = addresses(view);
    let missing = wanted.difference(&inside.addresses).map(|net| Setting::Address(*net));
    let extra = inside.addresses.difference(&wanted).map(|net| Setting::NoAddress(*net));
    // An interface that is down loses the IPv6 addresses that it is given.
    if far_link.up {
        settings(&mut steps, true, &far, far_link, missing.chain(extra));
    }
    Ok(steps)
}

/// The addresses of the network's distributed port, and the one at which guests ask for metadata.
fn addresses(view: &PlannedPlug) -> BTreeSet<IpNet> {
    let fixed = view.dhcp.iter().flat_map(|d| &d.fixed_ips);
    let own = fixed.filter_map(|f| {
        let subnet = view.subnets.iter().find(|s| s.id == f.subnet)?;
        IpNet::new(f.ip, subnet.cidr.prefix_len()).ok()
    });
    own.chain([IpNet::from(IpAddr::V4(METADATA))]).collect()
}

/// The steps to a port's tap. Before it is `open` it stands on no bridge: its rules must be there first.
pub fn port(id: &PortId, plug: &PlannedPlug, links: &Links, open: bool) -> Result<Vec<Step>, DataplaneError> {
    let name = names::tap(id);
    let Some(tap) = device(links, &name, Kind::Tap)? else { return Ok(vec![Step::AddTap { name }]) };
    let mut steps = vec![];
    settings(&mut steps, false, &name, tap, [Setting::NoIpv6, Setting::Mtu(plug.mtu.into())]);
    if open {
        let master = links.get(&names::bridge(&plug.network)).map(|b| Setting::Master(b.index));
        settings(&mut steps, false, &name, tap, master.into_iter().chain([Setting::Up(plug.admin_state_up)]));
    }
    Ok(steps)
}
