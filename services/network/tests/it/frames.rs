//! Frames as a hostile guest would make them: by hand, with every checksum right, so that nothing but the rules stops them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use strata_events::port::MacAddress;

pub const EVERYONE: MacAddress = MacAddress([0xff; 6]);

pub fn ethernet(to: MacAddress, from: MacAddress, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![];
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Says, to everyone, that this MAC has this address.
pub fn arp(operation: u16, from: MacAddress, claims: Ipv4Addr, tail: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4];
    payload.extend(operation.to_be_bytes());
    payload.extend(from.0);
    payload.extend(claims.octets());
    payload.extend(if operation == 1 { [0; 6] } else { [0xff; 6] });
    payload.extend(claims.octets());
    payload.extend(tail);
    ethernet(EVERYONE, from, 0x0806, &payload)
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let words = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// `fragment` is the offset in bytes, and whether more follow.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, fragment: Option<(u16, bool)>, payload: &[u8]) -> Vec<u8> {
    let (offset, more) = fragment.unwrap_or_default();
    let mut header = vec![0x45, 0];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend([0, 7]);
    header.extend((offset / 8 + if more { 0x2000 } else { 0 }).to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = vec![];
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => header.extend(ip.octets()),
            IpAddr::V6(ip) => header.extend(ip.octets()),
        }
    }
    header.extend((length as u32).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len();
    let mut datagram = vec![];
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend((length as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let sum = checksum(&[&pseudo(from.0, to.0, 17, length), &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// `body` is what follows type, code and checksum.
pub fn icmp6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let sum = checksum(&[&pseudo(from.into(), to.into(), 58, message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The same in two fragments, the first of which holds an extension header only: what it is about stands in the second.
pub fn in_two(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> [Vec<u8>; 2] {
    let piece = |offset: u16, more: bool, payload: &[u8]| {
        let mut fragment = vec![60, 0];
        fragment.extend((offset | u16::from(more)).to_be_bytes());
        fragment.extend([0, 0, 0, 9]);
        fragment.extend(payload);
        ipv6(from, to, 44, &fragment)
    };
    // Destination options: then ICMPv6, eight bytes in all, padded.
    [piece(0, true, &[58, 0, 1, 4, 0, 0, 0, 0]), piece(8, false, message)]
}
