//! Protocols and port ranges of security group rules: what fits together, in Neutron's words
//! (neutron/db/securitygroups_db.py, neutron/extensions/securitygroup.py).

use super::security_group::AddRule;
use crate::{Class, Refusal};
use ipnet::IpNet;
use strata_events::SecurityGroupId;
use strata_events::security_group::{Direction, Ethertype, Rule};

/// The names that rules may use.
pub const PROTOCOLS: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];
/// TCP, UDP, DCCP, SCTP, UDPLITE
const WITH_PORTS: &[u8] = &[6, 17, 33, 132, 136];
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// The number of a protocol given by name or number.
pub fn protocol_number(protocol: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number).or_else(|| protocol.parse().ok())
}

fn no(kind: &'static str, message: String) -> Refusal {
    Refusal::new(Class::Invalid, kind, message)
}

/// The rule's ports, if protocol, ethertype, prefix and ports fit together.
pub(super) fn check(ask: &AddRule) -> Result<(Option<u16>, Option<u16>), Refusal> {
    let ethertype = match ask.ethertype {
        Ethertype::V4 => "IPv4",
        Ethertype::V6 => "IPv6",
    };
    if let Some(prefix) = &ask.remote_ip_prefix
        && matches!(prefix, IpNet::V4(_)) != (ask.ethertype == Ethertype::V4)
    {
        let message = format!("Conflicting value ethertype {ethertype} for CIDR {prefix}");
        return Err(no("SecurityGroupRuleParameterConflict", message));
    }
    let Some(protocol) = ask.protocol.as_deref() else {
        if ask.port_range_min.is_some() || ask.port_range_max.is_some() {
            return Err(no("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.".into()));
        }
        return Ok((None, None));
    };
    let number = protocol_number(protocol).ok_or_else(|| {
        let names = PROTOCOLS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        no(
            "SecurityGroupRuleInvalidProtocol",
            format!("Security group rule protocol {protocol} not supported. Only protocol values [{names}] and integer representations [0 to 255] are supported."),
        )
    })?;
    if ask.ethertype == Ethertype::V4 && [41, 43, 44, ICMP6, 59, 60].contains(&number) {
        let message = format!("Invalid ethertype {ethertype} for protocol {protocol}.");
        return Err(no("SecurityGroupEthertypeConflictWithProtocol", message));
    }
    ports(ask, protocol, number)
}

fn ports(ask: &AddRule, protocol: &str, number: u8) -> Result<(Option<u16>, Option<u16>), Refusal> {
    let (min, max) = match (ask.port_range_min, ask.port_range_max) {
        (None, None) => return Ok((None, None)),
        range => range,
    };
    let narrow = |n: i64| u16::try_from(n).map_err(|_| no("SecurityGroupInvalidPortValue", format!("Invalid value for port {n}")));
    if WITH_PORTS.contains(&number) {
        if min == Some(0) || max == Some(0) {
            return Err(no("SecurityGroupInvalidPortValue", "Invalid value for port 0".into()));
        }
        return match (min.map(narrow).transpose()?, max.map(narrow).transpose()?) {
            (Some(min), Some(max)) if min <= max => Ok((Some(min), Some(max))),
            _ => Err(no("SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max".into())),
        };
    }
    if number == ICMP || number == ICMP6 {
        for (field, attr, value) in [("type", "port_range_min", min), ("code", "port_range_max", max)] {
            if let Some(value) = value.filter(|v| !(0..=255).contains(v)) {
                let message = format!("Invalid value for ICMP {field} ({attr}) {value}. It must be 0 to 255.");
                return Err(no("SecurityGroupInvalidIcmpValue", message));
            }
        }
        if let (None, Some(code)) = (min, max) {
            let message = format!("ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.");
            return Err(no("SecurityGroupMissingIcmpType", message));
        }
        return Ok((min.map(narrow).transpose()?, max.map(narrow).transpose()?));
    }
    Err(no(
        "SecurityGroupInvalidProtocolForPort",
        format!("Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."),
    ))
}

/// What a rule says, with the different ways to say the same made one.
#[derive(Debug, PartialEq)]
pub(super) struct Says(Direction, Ethertype, Option<u8>, u16, u16, Option<IpNet>, Option<SecurityGroupId>);

pub(super) fn says(rule: &Rule) -> Says {
    let number = rule.protocol.as_deref().and_then(protocol_number);
    // `icmp` in an IPv6 rule is ICMPv6.
    let number = if number == Some(ICMP) && rule.ethertype == Ethertype::V6 { Some(ICMP6) } else { number };
    let icmp = number == Some(ICMP) || number == Some(ICMP6);
    // No ICMP type has a number this high; for the others no range is all ports.
    let (min, max) = if icmp { (u16::MAX, u16::MAX) } else { (1, u16::MAX) };
    Says(
        rule.direction,
        rule.ethertype,
        number,
        rule.port_range_min.unwrap_or(min),
        rule.port_range_max.unwrap_or(max),
        rule.remote_ip_prefix.map(|p| p.trunc()).filter(|p| p.prefix_len() > 0),
        rule.remote_group,
    )
}
