//! The nftables ruleset of a host, as text, from the ports that are plugged. Pure. Invariants: whatever the ports say, the text
//! loads; a frame leaves a filtered port only with its own addresses; what no rule allows is dropped; one tenant's rule never
//! touches another's port.
//!
//! Two tables, because this kernel family may lack conntrack for bridges: `bridge` checks addresses where frames enter and marks
//! them with the number of the port that they come from or go to; `inet` sees the same packets through br_netfilter, has
//! connections tracked in a zone a network (tenants' addresses overlap), and judges by the mark.

use super::names;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use strata_events::port::MacAddress;
use strata_events::security_group::{Direction, Ethertype};
use strata_events::{NetworkId, PortId, SecurityGroupId};
use strata_projections::plan::port::{PlannedPlug, PlannedRule, Remote};

/// The bit of a connection's mark that says that rules ended it (see `conntrack`).
pub const ENDED: u32 = 1 << 12;

/// A plugged port and its number on this host.
pub struct Port<'a> {
    pub id: &'a PortId,
    pub number: u16,
    pub plug: &'a PlannedPlug,
}

/// All that the ruleset is made of.
pub struct Input<'a> {
    /// Keeps clouds on one machine apart.
    pub tag: &'a str,
    pub ports: Vec<Port<'a>>,
    pub zones: &'a BTreeMap<NetworkId, u16>,
    pub groups: &'a BTreeMap<SecurityGroupId, Vec<IpNet>>,
}

/// The name of both tables.
pub fn table(tag: &str) -> String {
    let tag: String = tag.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    format!("strata_{tag}")
}

/// One transaction that replaces what this cloud had loaded.
pub fn ruleset(input: &Input<'_>) -> String {
    let table = table(input.tag);
    let mut out = String::new();
    for family in ["bridge", "inet"] {
        line(&mut out, format_args!("table {family} {table} {{ }}\ndelete table {family} {table}"));
    }
    if !input.ports.is_empty() {
        bridge(&mut out, &table, input);
        inet(&mut out, &table, input);
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}
macro_rules! line {
    ($out:expr, $($text:tt)*) => { line($out, format_args!($($text)*)) };
}

fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

fn bridge(out: &mut String, table: &str, input: &Input<'_>) {
    let filtered = || input.ports.iter().filter(|p| p.plug.port_security_enabled);
    let devices: BTreeSet<String> =
        input.ports.iter().flat_map(|p| [names::tap(p.id), names::host_end(&p.plug.network)]).map(|d| format!("\"{d}\"")).collect();
    line!(out, "table bridge {table} {{");
    line!(out, "  chain from_port {{\n    type filter hook prerouting priority -300; policy accept;");
    if filtered().next().is_some() {
        let marks = list(filtered().map(|p| format!("\"{}\" : {}", names::tap(p.id), p.number)));
        line!(out, "    meta mark set iifname map {marks}");
        let jumps = list(filtered().map(|p| format!("\"{}\" : jump own_{}", names::tap(p.id), p.number)));
        line!(out, "    iifname vmap {jumps}");
    }
    line!(out, "  }}");
    line!(out, "  chain to_port {{\n    type filter hook forward priority -10; policy accept;");
    line!(out, "    iifname {} meta mark set 0", list(&devices));
    if filtered().next().is_some() {
        let marks = list(filtered().map(|p| format!("\"{}\" : {}", names::tap(p.id), p.number)));
        line!(out, "    meta mark set oifname map {marks}");
    }
    line!(out, "  }}");
    // The host itself has no address on a network of guests, and answers to none of its own there.
    line!(out, "  chain to_host {{\n    type filter hook input priority 0; policy accept;");
    line!(out, "    iifname {} drop\n  }}", list(&devices));
    filtered().for_each(|p| own_addresses(out, p));
    line!(out, "}}");
}

/// What a port may send as whom.
fn own_addresses(out: &mut String, port: &Port<'_>) {
    let plug = port.plug;
    let own = plug.fixed_ips.iter().map(|f| (plug.mac, IpNet::from(f.ip)));
    let pairs: BTreeSet<(MacAddress, IpNet)> = own.chain(plug.address_pairs.iter().map(|p| (p.mac, p.net.trunc()))).collect();
    let macs: BTreeSet<MacAddress> = pairs.iter().map(|(mac, _)| *mac).chain([plug.mac]).collect();
    // Whom a DHCP client speaks for stands in its message (chaddr, 28 bytes into it), whoever sends it: a lease must not be
    // declined or released by a neighbour. A message too short to say has no owner.
    line!(out, "  chain dhcp_{} {{", port.number);
    for mac in &macs {
        line!(out, "    @th,288,48 0x{} return", data_encoding::HEXLOWER.encode(&mac.0));
    }
    line!(out, "    drop\n  }}");
    line!(out, "  chain own_{} {{", port.number);
    line!(out, "    ether saddr != {} drop", list(&macs));
    // Asking whether anyone has an address is no claim to it.
    line!(out, "    ether type arp arp saddr ip 0.0.0.0 arp operation request arp saddr ether {} accept", list(&macs));
    for (mac, net) in pairs.iter().filter(|(_, net)| matches!(net, IpNet::V4(_))) {
        let arp = if net.prefix_len() == 0 { String::new() } else { format!("arp saddr ip {net} ") };
        line!(out, "    ether type arp ether saddr {mac} arp saddr ether {mac} {arp}accept");
    }
    line!(out, "    ether type arp drop");
    // A guest serves neither DHCP nor routes.
    line!(out, "    ether type ip udp sport 67 udp dport 68 drop");
    line!(out, "    ether type ip6 udp sport 547 udp dport 546 drop");
    line!(out, "    ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} drop");
    line!(out, "    ether type ip udp dport 67 jump dhcp_{}", port.number);
    line!(out, "    ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept");
    line!(out, "    ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, nd-router-solicit, mld2-listener-report }} accept");
    let v6 = six(plug);
    for (mac, net) in &v6 {
        // An advertisement claims the address that it is about.
        let target = target(net);
        line!(out, "    ether type ip6 ether saddr {mac} icmpv6 type nd-neighbor-advert {target}accept");
    }
    line!(out, "    ether type ip6 icmpv6 type nd-neighbor-advert drop");
    for (mac, net) in &v6 {
        let source = if net.prefix_len() == 0 { String::new() } else { format!("ip6 saddr {net} ") };
        line!(out, "    ether type ip6 ether saddr {mac} {source}accept");
    }
    for (mac, net) in pairs.iter().filter(|(_, net)| matches!(net, IpNet::V4(_))) {
        let source = if net.prefix_len() == 0 { String::new() } else { format!("ip saddr {net} ") };
        line!(out, "    ether type ip ether saddr {mac} {source}accept");
    }
    line!(out, "    drop\n  }}");
}

/// Its IPv6 addresses and those of its pairs, and the ones that these MACs give themselves on the link.
fn six(plug: &PlannedPlug) -> BTreeSet<(MacAddress, IpNet)> {
    let own = plug.fixed_ips.iter().map(|f| (plug.mac, IpNet::from(f.ip)));
    let pairs: BTreeSet<(MacAddress, IpNet)> = own.chain(plug.address_pairs.iter().map(|p| (p.mac, p.net.trunc()))).collect();
    let macs: BTreeSet<MacAddress> = pairs.iter().map(|(mac, _)| *mac).chain([plug.mac]).collect();
    let local = macs.iter().map(|mac| (*mac, IpNet::from(IpAddr::V6(link_local(mac)))));
    pairs.iter().copied().filter(|(_, net)| matches!(net, IpNet::V6(_))).chain(local).collect()
}

/// Where the target stands in a neighbour advertisement: 8 bytes into the ICMP header.
fn target(net: &IpNet) -> String {
    match net {
        IpNet::V6(net) if net.prefix_len() > 0 => {
            let bits = net.prefix_len();
            let value = u128::from(net.network()) >> (128 - bits);
            format!("@th,64,{bits} 0x{value:x} ")
        }
        _ => String::new(),
    }
}

/// The address that an interface gives itself on its link (RFC 4291, modified EUI-64).
fn link_local(mac: &MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(interface))
}

fn inet(out: &mut String, table: &str, input: &Input<'_>) {
    let networks: BTreeSet<NetworkId> = input.ports.iter().map(|p| p.plug.network).collect();
    let bridges = list(networks.iter().map(|n| format!("\"{}\"", names::bridge(n))));
    let filtered = || input.ports.iter().filter(|p| p.plug.port_security_enabled);
    line!(out, "table inet {table} {{");
    sets(out, input);
    let zones = networks.iter().filter_map(|n| Some(format!("\"{}\" : {}", names::bridge(n), input.zones.get(n)?)));
    let zones: Vec<String> = zones.collect();
    // Before fragments are put together (-400): those of two networks, whose addresses may be the same, don't belong together.
    line!(out, "  chain zone {{\n    type filter hook prerouting priority -450; policy accept;");
    if !zones.is_empty() {
        line!(out, "    ct zone set iifname map {}", list(zones));
    }
    line!(out, "  }}");
    for (chain, hook, prefix) in [("from_port", "prerouting", "out"), ("to_port", "forward", "in")] {
        line!(out, "  chain {chain} {{\n    type filter hook {hook} priority filter; policy accept;");
        line!(out, "    iifname != {bridges} accept");
        if filtered().next().is_some() {
            let chains = list(filtered().map(|p| format!("{} : goto {prefix}_{}", p.number, p.number)));
            line!(out, "    meta mark vmap {chains}");
        }
        line!(out, "  }}");
    }
    for port in filtered() {
        judged(out, port, Direction::Egress, input);
        judged(out, port, Direction::Ingress, input);
    }
    line!(out, "}}");
}

/// The groups that rules name, a set for each version of IP.
fn sets(out: &mut String, input: &Input<'_>) {
    let named: BTreeSet<SecurityGroupId> = input
        .ports
        .iter()
        .flat_map(|p| &p.plug.rules)
        .filter_map(|r| if let Remote::Group(id) = r.remote { Some(id) } else { None })
        .collect();
    for id in named {
        let members = input.groups.get(&id).map(IpNet::aggregate).unwrap_or_default();
        for (v4, family) in [(true, "ipv4_addr"), (false, "ipv6_addr")] {
            let elements: Vec<&IpNet> = members.iter().filter(|n| matches!(n, IpNet::V4(_)) == v4).collect();
            let elements = if elements.is_empty() { String::new() } else { format!("elements = {};", list(elements)) };
            line!(out, "  set {} {{ type {family}; flags interval; {elements} }}", set(&id, v4));
        }
    }
}

fn set(id: &SecurityGroupId, v4: bool) -> String {
    format!("group{}_{}", if v4 { 4 } else { 6 }, id.0.simple())
}

/// The chain that judges a port's traffic in one direction.
fn judged(out: &mut String, port: &Port<'_>, direction: Direction, input: &Input<'_>) {
    let (prefix, end) = if direction == Direction::Egress { ("out", "daddr") } else { ("in", "saddr") };
    if direction == Direction::Egress {
        // Where frames enter, what stands in the later fragments of a packet isn't seen: here it is whole. Newer kernels put
        // nothing together whose first fragment doesn't say what it is.
        line!(out, "  chain told_{} {{", port.number);
        line!(out, "    icmpv6 type {{ nd-router-advert, nd-redirect }} drop");
        for net in six(port.plug).into_iter().map(|(_, net)| net).collect::<BTreeSet<_>>() {
            line!(out, "    icmpv6 type nd-neighbor-advert {}return", target(&net));
        }
        line!(out, "    icmpv6 type nd-neighbor-advert drop\n  }}");
    }
    line!(out, "  chain {prefix}_{} {{", port.number);
    if direction == Direction::Egress {
        line!(out, "    udp sport 67 udp dport 68 drop\n    udp sport 547 udp dport 546 drop");
        line!(out, "    meta l4proto ipv6-icmp jump told_{}", port.number);
    }
    if port.plug.stateful {
        line!(out, "    ct mark & {ENDED:#x} != 0 drop");
        line!(out, "    ct state established,related accept\n    ct state invalid drop");
    }
    // What a guest can't do without, whatever its rules say.
    if direction == Direction::Egress {
        line!(out, "    udp sport 68 udp dport 67 accept\n    udp sport 546 udp dport 547 accept");
        line!(out, "    icmpv6 type {{ 130, 131, 132, 133, 135, 136, 143 }} accept");
    } else {
        line!(out, "    udp sport 67 udp dport 68 accept\n    udp sport 547 udp dport 546 accept");
        line!(out, "    icmpv6 type {{ 130, 131, 132, 134, 135, 136 }} accept");
    }
    let rules = port.plug.rules.iter().filter(|r| r.direction == direction);
    for text in rules.filter_map(|r| allowed(r, end, input)).collect::<BTreeSet<_>>() {
        line!(out, "    {text} accept");
    }
    line!(out, "    drop\n  }}");
}

/// A rule's conditions; none when nothing can meet them.
fn allowed(rule: &PlannedRule, end: &str, input: &Input<'_>) -> Option<String> {
    let v4 = rule.ethertype == Ethertype::V4;
    let ip = if v4 { "ip" } else { "ip6" };
    let mut parts = vec![format!("meta nfproto {}", if v4 { "ipv4" } else { "ipv6" })];
    match &rule.remote {
        Remote::Any => {}
        Remote::Prefix(net) if matches!(net, IpNet::V4(_)) != v4 => return None,
        Remote::Prefix(net) if net.prefix_len() == 0 => {}
        Remote::Prefix(net) => parts.push(format!("{ip} {end} {}", net.trunc())),
        Remote::Group(id) => {
            if !input.groups.contains_key(id) {
                return None; // not told yet who is in it: nobody
            }
            parts.push(format!("{ip} {end} @{}", set(id, v4)));
        }
    }
    let Some(protocol) = &rule.protocol else { return Some(parts.join(" ")) };
    let number = protocol_number(protocol, v4)?;
    match number {
        0 => {}
        6 | 17 | 33 | 132 | 136 => {
            parts.push(format!("meta l4proto {number}"));
            match (rule.port_range_min, rule.port_range_max) {
                (None, None) => {}
                (Some(one), None) | (None, Some(one)) => parts.push(format!("th dport {one}")),
                (Some(first), Some(last)) if first == last => parts.push(format!("th dport {first}")),
                (Some(first), Some(last)) if first < last => parts.push(format!("th dport {first}-{last}")),
                _ => return None,
            }
        }
        1 | 58 => {
            let icmp = if number == 1 { "icmp" } else { "icmpv6" };
            if (number == 1) != v4 {
                return None;
            }
            match (rule.port_range_min, rule.port_range_max) {
                (None, _) => parts.push(format!("meta l4proto {number}")),
                (Some(kind), code) => {
                    parts.push(format!("{icmp} type {}", u8::try_from(kind).ok()?));
                    if let Some(code) = code {
                        parts.push(format!("{icmp} code {}", u8::try_from(code).ok()?));
                    }
                }
            }
        }
        _ => parts.push(format!("meta l4proto {number}")),
    }
    Some(parts.join(" "))
}

/// A connection as a port sees it.
pub struct Flow {
    pub protocol: u8,
    /// The port that it goes to, or the ICMP type.
    pub first: u16,
    /// The ICMP code.
    pub code: u16,
    pub remote: IpAddr,
}

/// Whether a port's rules would let a connection begin. Says what the chains above say; where they differ, a connection lives
/// longer or shorter than it should, but none gets through that the chains don't let.
pub fn lets(plug: &PlannedPlug, direction: Direction, flow: &Flow, groups: &BTreeMap<SecurityGroupId, Vec<IpNet>>) -> bool {
    let v4 = flow.remote.is_ipv4();
    let needed = matches!((flow.protocol, flow.first), (17, 67 | 68 | 546 | 547) | (58, 130..=136 | 143));
    let meets = |rule: &PlannedRule| {
        let remote = match &rule.remote {
            Remote::Any => true,
            Remote::Prefix(net) => net.contains(&flow.remote),
            Remote::Group(id) => groups.get(id).is_some_and(|members| members.iter().any(|net| net.contains(&flow.remote))),
        };
        let protocol = rule.protocol.as_ref().map(|p| protocol_number(p, v4));
        let (min, max) = (rule.port_range_min, rule.port_range_max);
        let detail = match flow.protocol {
            1 | 58 => min.is_none_or(|kind| kind == flow.first) && max.is_none_or(|code| min.is_none() || code == flow.code),
            6 | 17 | 33 | 132 | 136 => min.or(max).is_none_or(|first| (first..=max.or(min).unwrap_or(first)).contains(&flow.first)),
            _ => true,
        };
        rule.direction == direction
            && (rule.ethertype == Ethertype::V4) == v4
            && remote
            && protocol.is_none_or(|p| p == Some(0) || p == Some(flow.protocol) && detail)
    };
    !plug.port_security_enabled || needed || plug.rules.iter().any(meets)
}

/// IANA's number of a protocol, by the names that Neutron takes.
fn protocol_number(name: &str, v4: bool) -> Option<u8> {
    Some(match name {
        "any" => 0,
        "icmp" if !v4 => 58, // Neutron takes it for ICMPv6 in a rule for IPv6
        "icmp" => 1,
        "igmp" => 2,
        "ipip" => 4,
        "tcp" => 6,
        "egp" => 8,
        "udp" => 17,
        "dccp" => 33,
        "ipv6-encap" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ospf" => 89,
        "vrrp" => 112,
        "pgm" => 113,
        "sctp" => 132,
        "udplite" => 136,
        number => match number.parse().ok()? {
            1 if !v4 => 58,
            number => number,
        },
    })
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
