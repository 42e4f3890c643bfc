//! A DHCP client, as small as one can be: asks for an address and takes what it is given.

use crate::lab::Guest;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use strata_events::port::MacAddress;

#[derive(Debug)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub options: BTreeMap<u8, Vec<u8>>,
}

/// Asks for so long, and gives the acknowledged lease.
#[allow(unsafe_code)]
pub fn lease(guest: &Guest, mac: MacAddress, wait: Duration) -> Option<Lease> {
    guest.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let device = c"eth0";
        // SAFETY: the name is a string of five bytes with its end.
        let bound = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_ptr().cast(), 5) };
        assert_eq!(bound, 0);
        let end = Instant::now() + wait;
        while Instant::now() < end {
            let Some(offer) = ask(&socket, mac, 1, None) else { continue };
            let server = offer.options.get(&54).cloned()?;
            if let Some(ack) = ask(&socket, mac, 3, Some((offer.ip, server))) {
                return Some(ack);
            }
        }
        None
    })
}

fn ask(socket: &UdpSocket, mac: MacAddress, kind: u8, chosen: Option<(Ipv4Addr, Vec<u8>)>) -> Option<Lease> {
    let mut packet = vec![1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0x80, 0];
    packet.resize(28, 0);
    packet.extend(mac.0);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, kind]);
    if let Some((ip, server)) = chosen {
        packet.extend([50, 4]);
        packet.extend(ip.octets());
        packet.extend([54, 4]);
        packet.extend(server);
    }
    packet.extend([55, 7, 1, 3, 6, 12, 15, 26, 121, 255]);
    packet.resize(300, 0);
    socket.send_to(&packet, (Ipv4Addr::BROADCAST, 67)).ok()?;
    let mut buffer = [0; 1500];
    let n = socket.recv(&mut buffer).ok()?;
    let reply = &buffer[..n];
    let ip = <[u8; 4]>::try_from(reply.get(16..20)?).ok()?;
    let mut options = BTreeMap::new();
    let mut rest = reply.get(240..)?;
    while let [code, length, tail @ ..] = rest {
        if *code == 255 {
            break;
        }
        let (value, tail) = tail.split_at_checked((*length).into())?;
        options.insert(*code, value.to_vec());
        rest = tail;
    }
    let wanted = if kind == 1 { 2 } else { 5 };
    (options.get(&53) == Some(&vec![wanted])).then_some(Lease { ip: ip.into(), options })
}
