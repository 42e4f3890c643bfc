//! Connections that were let through and would be no more. A rule that goes, or a member that leaves a group, ends them too:
//! established ones pass by that alone. By ctnetlink: dump, judge, and then mark or delete.
//!
//! A TCP connection is marked as ended, and the rules drop what is so marked: if the kernel only forgot it, it would take the
//! next segment for the beginning of a new one (`nf_conntrack_tcp_loose`). As soon as the one who was connected to sends it,
//! that is one outwards, which his rules let begin, and the connection would go on as that. A connection that is let again, its
//! rule being back, is not ended any more: it still says who began it, so that it can be ended once more. Other protocols' are
//! forgotten: with them there is no telling a reply from a new flow of the one who was connected to.

use super::link::Changes;
use super::rules::{self, ENDED, Flow};
use ipnet::IpNet;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use strata_events::SecurityGroupId;
use strata_events::security_group::Direction;
use strata_projections::plan::port::PlannedPlug;

// linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const DONE: u16 = 0x3;
const ERROR: u16 = 0x2;
const CHANGE: u16 = 1 << 8; // without a flag that lets it create
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const TUPLE: u16 = 1;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const MARK_MASK: u16 = 21;
const TCP: u8 = 6;

/// A tracked connection: who began it with whom, and what the kernel needs to find it again.
#[derive(Debug, Clone)]
struct Tracked {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// Destination port, or ICMP type.
    first: u16,
    code: u16,
    zone: u16,
    family: u8,
    /// Marked as ended before.
    ended: bool,
    attributes: Vec<u8>,
}

/// A port, with its network's zone.
pub struct Judged {
    pub plug: PlannedPlug,
    pub zone: u16,
    /// Its connections are to be judged. Those of the others only where they are with such a one.
    pub anew: bool,
}

impl Judged {
    fn has(&self, zone: u16, ip: IpAddr) -> bool {
        self.zone == zone
            && (self.plug.fixed_ips.iter().any(|f| f.ip == ip)
                || self.plug.address_pairs.iter().any(|p| p.net.prefix_len() > 0 && p.net.contains(&ip)))
    }
}

/// Ends the connections that the rules of these ports, all of a zone or none, would not let begin, and forgets all of the
/// addresses that are `over`: who has such an address now has none of its connections. Blocks.
pub fn judge(
    ports: &[Judged],
    over: &BTreeSet<(u16, IpAddr)>,
    groups: &BTreeMap<SecurityGroupId, Vec<IpNet>>,
    changes: &Changes,
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut seq = 0;
    for tracked in dump(&socket, &mut seq)? {
        let ends = [tracked.from, tracked.to];
        if ends.iter().any(|ip| over.contains(&(tracked.zone, *ip))) {
            changes.one();
            ask(&socket, &tracked, DELETE, &[], &mut seq)?;
            continue;
        }
        if !ports.iter().any(|port| port.anew && ends.iter().any(|ip| port.has(tracked.zone, *ip))) {
            continue;
        }
        let ended = ports.iter().any(|port| is_over(port, &tracked, groups));
        if ended != tracked.ended {
            changes.one();
            if tracked.protocol == TCP {
                ask(&socket, &tracked, CHANGE, &mark(ended), &mut seq)?;
            } else {
                ask(&socket, &tracked, DELETE, &[], &mut seq)?;
            }
        }
    }
    Ok(())
}

fn is_over(port: &Judged, tracked: &Tracked, groups: &BTreeMap<SecurityGroupId, Vec<IpNet>>) -> bool {
    let own = |ip: IpAddr| port.has(tracked.zone, ip);
    let flow = |remote| Flow { protocol: tracked.protocol, first: tracked.first, code: tracked.code, remote };
    own(tracked.to) && !rules::lets(&port.plug, Direction::Ingress, &flow(tracked.from), groups)
        || own(tracked.from) && !rules::lets(&port.plug, Direction::Egress, &flow(tracked.to), groups)
}

fn message(kind: u16, flags: u16, seq: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = 20 + attributes.len() as u32;
    let mut out = vec![];
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([family, 0, 0, 0]);
    out.extend(attributes);
    out
}

/// The messages of a datagram: kind and what follows the header.
fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = vec![];
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(16..length) else { break };
        found.push((kind, body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Attributes by type: each whole, and its value.
fn attributes(mut bytes: &[u8]) -> BTreeMap<u16, (&[u8], &[u8])> {
    let mut found = BTreeMap::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let (Some(whole), Some(value)) = (bytes.get(..length), bytes.get(4..length)) else { break };
        found.insert(kind & 0x3fff, (whole, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// All connections, of both versions of IP at once: the kernel goes through its whole table for each question.
fn dump(socket: &Socket, seq: &mut u32) -> io::Result<Vec<Tracked>> {
    *seq += 1;
    socket.send(&message(GET, REQUEST | DUMP, *seq, libc::AF_UNSPEC as u8, &[]), 0)?;
    let mut found = vec![];
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for (kind, body) in messages(&bytes) {
            match kind {
                DONE => return Ok(found),
                ERROR => return refused(body).map(|()| found),
                _ => found.extend(body.get(4..).and_then(tracked)),
            }
        }
    }
}

/// An error message's code; zero is an acknowledgement.
fn refused(body: &[u8]) -> io::Result<()> {
    match word(body, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn tracked(bytes: &[u8]) -> Option<Tracked> {
    let all = attributes(bytes);
    let zone = all.get(&ZONE).and_then(|(_, v)| Some(u16::from_be_bytes(v.get(..2)?.try_into().ok()?)))?;
    let tuple = attributes(all.get(&TUPLE)?.1);
    let (addresses, protocol) = (attributes(tuple.get(&1)?.1), attributes(tuple.get(&2)?.1));
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        let v4 = addresses.get(&v4).and_then(|(_, v)| Some(IpAddr::from(<[u8; 4]>::try_from(*v).ok()?)));
        v4.or_else(|| Some(IpAddr::from(<[u8; 16]>::try_from(addresses.get(&v6)?.1).ok()?)))
    };
    let byte = |kind: u16| protocol.get(&kind).and_then(|(_, v)| v.first().copied());
    let port = protocol.get(&3).and_then(|(_, v)| Some(u16::from_be_bytes(v.get(..2)?.try_into().ok()?)));
    let icmp = byte(5).or_else(|| byte(8)).map(u16::from);
    let mut attributes = vec![];
    for kind in [TUPLE, ID, ZONE] {
        if let Some((whole, _)) = all.get(&kind) {
            attributes.extend(*whole);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        }
    }
    let from = address(1, 3)?;
    Some(Tracked {
        from,
        to: address(2, 4)?,
        protocol: byte(1)?,
        first: port.or(icmp).unwrap_or(0),
        code: byte(6).or_else(|| byte(9)).unwrap_or(0).into(),
        zone,
        family: if from.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8,
        ended: all.get(&MARK).and_then(|(_, v)| Some(u32::from_be_bytes(v.get(..4)?.try_into().ok()?))).is_some_and(|m| m & ENDED != 0),
        attributes,
    })
}

/// The attributes that set, or take away, our bit of a connection's mark and leave the others.
fn mark(ended: bool) -> Vec<u8> {
    let attribute = |kind: u16, value: u32| [&8u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_be_bytes()].concat();
    [attribute(MARK, if ended { ENDED } else { 0 }), attribute(MARK_MASK, ENDED)].concat()
}

fn ask(socket: &Socket, tracked: &Tracked, kind: u16, more: &[u8], seq: &mut u32) -> io::Result<()> {
    *seq += 1;
    let attributes = [&tracked.attributes[..], more].concat();
    socket.send(&message(kind, REQUEST | ACK, *seq, tracked.family, &attributes), 0)?;
    let (bytes, _) = socket.recv_from_full()?;
    let outcome = messages(&bytes).into_iter().find(|(kind, _)| *kind == ERROR).map_or(Ok(()), |(_, body)| refused(body));
    match outcome {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()), // it ended by itself
        outcome => outcome,
    }
}
