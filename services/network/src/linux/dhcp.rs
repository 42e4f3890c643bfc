//! What dnsmasq is told about one network on one host, as texts. Pure. Invariant: nothing that a user wrote can begin a line or
//! an option of its own: text with control characters, commas or other than plain letters where a name is meant is left out.
//!
//! Leases are static. The configuration changes only with what dnsmasq reads once (interface, ranges, domain); hosts and options
//! it reads again when told to.

use super::names;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use strata_events::port::MacAddress;
use strata_events::{NetworkId, PortId};
use strata_projections::plan::port::PlannedPlug;
use strata_projections::plan::subnet::PlannedSubnet;

/// Where guests ask for metadata.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const LEASE_TIME: &str = "86400s";

/// Three files' contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub conf: String,
    pub hosts: String,
    pub options: String,
    /// Who has which address: a lease that was given stays with its MAC until dnsmasq starts anew.
    pub leases: BTreeMap<IpAddr, MacAddress>,
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}

/// A subnet's tag; dnsmasq knows which applies by the address that it gives.
fn tag(subnet: &PlannedSubnet) -> String {
    format!("s{}", subnet.id.0.simple())
}

/// The address in this subnet from which DHCP and metadata are served; none: nothing is served there.
fn server(view: &PlannedPlug, subnet: &PlannedSubnet) -> Option<IpAddr> {
    let fixed = &view.dhcp.as_ref()?.fixed_ips;
    fixed.iter().find(|f| f.subnet == subnet.id).map(|f| f.ip).filter(|_| subnet.enable_dhcp)
}

/// How many leases more than there are owners a dnsmasq may remember.
const REMEMBERED: usize = 1024;

/// Whether a dnsmasq has to begin anew: a lease that it remembers would keep an address from its next owner, or it remembers too
/// many of owners that are gone.
pub fn has_to_forget(held: &BTreeMap<IpAddr, MacAddress>, wanted: &BTreeMap<IpAddr, MacAddress>) -> bool {
    let moved = wanted.iter().any(|(ip, mac)| held.get(ip).is_some_and(|held| held != mac));
    moved || held.len() > wanted.len() + REMEMBERED
}

/// `view` is what is known of the network; `ports` are those plugged here.
pub fn files<'a>(
    network: &NetworkId,
    view: &PlannedPlug,
    ports: impl Iterator<Item = (&'a PortId, &'a PlannedPlug)> + Clone,
    directory: &Path,
) -> Files {
    let served: Vec<(&PlannedSubnet, IpAddr)> = view.subnets.iter().filter_map(|s| Some((s, server(view, s)?))).collect();
    let domain = Some(&view.dns_domain).map(|d| d.trim_end_matches('.')).filter(|d| is_name(d)).unwrap_or("openstacklocal");
    let mut leases = BTreeMap::new();
    let mut hosts = String::new();
    let mut options = String::new();
    for (subnet, server) in &served {
        subnet_options(&mut options, view, subnet, *server);
    }
    for (id, plug) in ports {
        let mine = |f: &&strata_events::port::FixedIp| served.iter().any(|(s, _)| s.id == f.subnet);
        let mut seen = BTreeSet::new();
        for fixed in plug.fixed_ips.iter().filter(mine).filter(|f| seen.insert(f.subnet)) {
            let name = plug.hostname.as_deref().filter(|h| is_name(h)).map(|h| format!(",{h}")).unwrap_or_default();
            let ip = if fixed.ip.is_ipv6() { format!("[{}]", fixed.ip) } else { fixed.ip.to_string() };
            line(&mut hosts, format_args!("{},set:p{}{name},{ip}", plug.mac, id.0.simple()));
            leases.insert(fixed.ip, plug.mac);
        }
        for option in plug.extra_dhcp_opts.iter().filter(|o| is_option(&o.opt_name) && is_value(&o.opt_value)) {
            let six = if option.ip_version == 6 { "6" } else { "" };
            let number = option.opt_name.bytes().all(|b| b.is_ascii_digit());
            let name = if number && six.is_empty() { option.opt_name.clone() } else { format!("option{six}:{}", option.opt_name) };
            line(&mut options, format_args!("tag:p{},{name},{}", id.0.simple(), option.opt_value));
        }
    }
    Files { conf: conf(network, view, &served, domain, directory), hosts, options, leases }
}

fn conf(network: &NetworkId, view: &PlannedPlug, served: &[(&PlannedSubnet, IpAddr)], domain: &str, directory: &Path) -> String {
    let mut out = String::new();
    let interface = names::namespace_end(network);
    for fixed in [
        "# Written by strata; changed by hand it is written again.",
        "port=0",
        "bind-interfaces",
        "except-interface=lo",
        "no-hosts",
        "no-resolv",
        "dhcp-authoritative",
        "leasefile-ro",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        "log-facility=/dev/null",
        "user=root",
        "group=root",
    ] {
        line(&mut out, format_args!("{fixed}"));
    }
    line(&mut out, format_args!("interface={interface}\ndomain={domain}"));
    let directory = directory.display();
    line(&mut out, format_args!("pid-file={directory}/dnsmasq.pid"));
    line(&mut out, format_args!("dhcp-hostsfile={directory}/hosts\ndhcp-optsfile={directory}/options"));
    let mut advertised = false;
    for (subnet, _) in served {
        let tag = tag(subnet);
        match subnet.cidr {
            IpNet::V4(net) => line(&mut out, format_args!("dhcp-range=set:{tag},{},static,{},{LEASE_TIME}", net.network(), net.netmask())),
            IpNet::V6(net) => {
                let (address, ra) = (subnet.ipv6_address_mode.as_deref(), subnet.ipv6_ra_mode.as_deref());
                let mode = match ra.or(address) {
                    Some("slaac") => "ra-only",
                    Some("dhcpv6-stateless") => "ra-stateless",
                    _ => "static",
                };
                advertised |= ra.is_some();
                line(&mut out, format_args!("dhcp-range=set:{tag},{},{mode},{},{LEASE_TIME}", net.network(), net.prefix_len()));
            }
        }
    }
    if advertised {
        // The prefix is told; the way out of the network is a router's to tell.
        line(&mut out, format_args!("enable-ra\nra-param={interface},mtu:{},60,0", view.mtu));
    }
    line(&mut out, format_args!("dhcp-lease-max=65536"));
    out
}

fn subnet_options(out: &mut String, view: &PlannedPlug, subnet: &PlannedSubnet, server: IpAddr) {
    let tag = tag(subnet);
    let dns: Vec<String> = subnet.dns_nameservers.iter().map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }).collect();
    if subnet.cidr.addr().is_ipv6() {
        if !dns.is_empty() {
            line(out, format_args!("tag:{tag},option6:dns-server,{}", dns.join(",")));
        }
        return;
    }
    // An option without a value is not sent: otherwise dnsmasq would name itself.
    match subnet.gateway {
        Some(gateway) => line(out, format_args!("tag:{tag},3,{gateway}")),
        None => line(out, format_args!("tag:{tag},3")),
    }
    match dns.is_empty() {
        false => line(out, format_args!("tag:{tag},6,{}", dns.join(","))),
        true => line(out, format_args!("tag:{tag},6")),
    }
    line(out, format_args!("tag:{tag},26,{}", view.mtu));
    // A client that takes these ignores the router (RFC 3442): the default route is among them.
    let own = subnet.host_routes.iter().map(|r| (r.destination, r.nexthop));
    let metadata = [(IpNet::from(IpAddr::V4(METADATA)), server)];
    let default = subnet.gateway.map(|gateway| (IpNet::V4(Default::default()), gateway));
    let has = |net: IpNet| subnet.host_routes.iter().any(|r| r.destination == net);
    let rest = metadata.into_iter().chain(default).filter(|(net, _)| !has(*net));
    let routes: Vec<String> = own.chain(rest).map(|(net, via)| format!("{net},{via}")).collect();
    for option in [121, 249] {
        line(out, format_args!("tag:{tag},{option},{}", routes.join(",")));
    }
}

/// A host's or domain's name.
fn is_name(text: &str) -> bool {
    let label =
        |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !text.is_empty() && text.len() <= 253 && text.split('.').all(label)
}

fn is_option(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_value(value: &str) -> bool {
    value.len() <= 255 && !value.chars().any(char::is_control) && !value.contains('"')
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
mod tests;
