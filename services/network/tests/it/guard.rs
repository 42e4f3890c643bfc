//! What keeps guests from each other: a frame that is not its sender's to send reaches no peer, and what belongs to one owner or
//! network doesn't come to another.

use crate::frames::*;
use crate::lab::*;
use crate::{LONG, dhcp};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use strata_events::port::MacAddress;
use strata_network::Dataplane;
use strata_projections::plan::port::PlannedRule;

/// How long what shall not come is waited for.
const SHORT: Duration = Duration::from_millis(400);

fn v4(n: u8) -> Ipv4Addr {
    [10, 0, 0, n].into()
}
/// The address that a guest gives itself on its link.
fn local(n: u8) -> Ipv6Addr {
    format!("fe80::f816:3eff:fe00:{n:x}").parse().unwrap()
}

#[test]
fn what_is_not_ones_own_reaches_no_peer() {
    on_a_host("spoofing", |lab| async move {
        let dataplane = lab.open();
        let open = |n| {
            let mut plug = plug(1, n);
            plug.port_security_enabled = n != 11;
            plug.rules.clear();
            plug
        };
        // The first is guarded, and would be heard by the second, which lets everything in.
        for n in [11, 12] {
            let mut plug = open(n);
            plug.port_security_enabled = n == 11;
            plug.rules = default_rules();
            dataplane.plug(&port_id(n), &plug).await.unwrap();
        }
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        b.echo(7);
        let short = SHORT;
        assert!(a.echoed(ip(12), 7, LONG), "its own address may send");
        // Nor may it answer for the DHCP server: not even from its own address.
        let from = |port: u16| {
            let client = b.inside(|| std::net::UdpSocket::bind("10.0.0.12:68").unwrap());
            client.set_read_timeout(Some(short)).unwrap();
            a.inside(|| std::net::UdpSocket::bind(("10.0.0.11", port)).unwrap().send_to(b"offer", "10.0.0.12:68").unwrap());
            client.recv(&mut [0; 16]).is_ok()
        };
        assert!(from(6767) && !from(67));
        a.run("ip addr add 10.0.0.66/24 dev eth0");
        a.run("ip route add 10.0.0.12/32 dev eth0 src 10.0.0.66");
        assert!(!a.echoed(ip(12), 7, short), "another's address may not");
        a.run("ip route del 10.0.0.12/32 dev eth0");
        a.run("ip addr del 10.0.0.66/24 dev eth0");
        assert!(a.echoed(ip(12), 7, LONG));
        a.run("ip link set eth0 address fa:16:3e:00:00:77");
        assert!(!a.echoed(ip(12), 7, short), "another's MAC may not");
        a.run(&format!("ip link set eth0 address {}", mac(11)));
        until("its own MAC may again", 5, || a.echoed(ip(12), 7, short)).await;
        // An address pair may.
        let mut pair = plug(1, 11);
        pair.address_pairs = vec![strata_projections::plan::port::PlannedPair { mac: mac(11), net: "10.0.0.66/32".parse().unwrap() }];
        dataplane.update(&port_id(11), &pair).await.unwrap();
        a.run("ip addr add 10.0.0.66/24 dev eth0");
        a.run("ip route add 10.0.0.12/32 dev eth0 src 10.0.0.66");
        assert!(a.echoed(ip(12), 7, LONG), "an address pair may");
    });
}

/// Frames that guest `n` has no right to send, each with these bytes at its end.
fn forgeries(n: u8, tail: &[u8]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let (own, all) = (mac(n), "ff02::1".parse::<Ipv6Addr>().unwrap());
    let to_all = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    let six = |from: Ipv6Addr, next: u8, payload: &[u8]| ethernet(to_all, own, 0x86dd, &ipv6(from, all, next, payload));
    let four = |from: (Ipv4Addr, u16), to: u16| {
        let datagram = udp((from.0.into(), from.1), (Ipv4Addr::BROADCAST.into(), to), tail);
        ipv4(from.0, Ipv4Addr::BROADCAST, 17, None, &datagram)
    };
    let body = |fixed: usize| [&vec![0; fixed][..], tail].concat();
    let advert = |from| icmp6(from, all, 134, &body(12));
    // For the address of a third: flags, target.
    let neighbour = |from| icmp6(from, all, 136, &[&[0x20, 0, 0, 0], &local(12).octets()[..], tail].concat());
    let pieces = |message: &[u8]| in_two(local(n), all, message).map(|p| ethernet(to_all, own, 0x86dd, &p)).to_vec();
    let dhcp6 = udp((local(n).into(), 547), (all.into(), 546), tail);
    vec![
        ("a gratuitous ARP request", vec![arp(1, own, v4(12), tail)]),
        ("a gratuitous ARP reply", vec![arp(2, own, v4(12), tail)]),
        ("another's MAC", vec![ethernet(EVERYONE, mac(12), 0x0800, &four((v4(n), 7000), 7000))]),
        ("another's address", vec![ethernet(EVERYONE, own, 0x0800, &four((v4(12), 7000), 7000))]),
        ("another's IPv6 address", vec![six(local(12), 17, &udp((local(12).into(), 7000), (all.into(), 7000), tail))]),
        ("a DHCP server's offer", vec![ethernet(EVERYONE, own, 0x0800, &four((v4(n), 67), 68))]),
        ("a DHCPv6 server's answer", vec![six(local(n), 17, &dhcp6)]),
        ("a router advertisement", vec![six(local(n), 58, &advert(local(n)))]),
        ("a redirect", vec![six(local(n), 58, &icmp6(local(n), all, 137, &body(36)))]),
        ("an advertisement for a neighbour", vec![six(local(n), 58, &neighbour(local(n)))]),
        ("a router advertisement in fragments", pieces(&advert(local(n)))),
        ("an advertisement for a neighbour in fragments", pieces(&neighbour(local(n)))),
        ("a VLAN tag", vec![ethernet(EVERYONE, own, 0x8100, &[&[0, 5, 8, 0], &four((v4(n), 7000), 7000)[..]].concat())]),
        ("a protocol that nobody knows", vec![ethernet(EVERYONE, own, 0x88b5, tail)]),
    ]
}

#[test]
fn no_forged_frame_is_heard_by_a_third() {
    on_a_host("forgeries", |lab| async move {
        let dataplane = lab.open();
        // The first is guarded; the others are not, so that all that is sent to the second would be heard there.
        for n in [11, 12, 13] {
            let mut plug = plug(1, n);
            plug.port_security_enabled = n == 11;
            plug.rules = if n == 11 { default_rules() } else { vec![] };
            dataplane.plug(&port_id(n), &plug).await.unwrap();
        }
        let [a, b, c] = [11, 12, 13].map(Guest::with_address);
        let ear = b.ear();
        let heard = |tail: [u8; 8], wait| ear.hears(wait, |frame| frame.windows(8).any(|w| w == tail));
        // Its own it may send.
        let own = |tail: [u8; 8]| {
            let datagram = udp((ip(11), 7000), (Ipv4Addr::BROADCAST.into(), 7000), &tail);
            ethernet(EVERYONE, mac(11), 0x0800, &ipv4(v4(11), Ipv4Addr::BROADCAST, 17, None, &datagram))
        };
        a.sends(&own(*b"its own!"));
        assert!(heard(*b"its own!", LONG), "nothing is heard at all");
        for (what, frames) in forgeries(13, b"unguard!") {
            frames.iter().for_each(|f| c.sends(f));
            // What says what it is in its second fragment only, this kernel may put together for nobody (RFC 8200, 4.5).
            if !what.ends_with("fragments") {
                assert!(heard(*b"unguard!", LONG), "{what} is not heard from one who is not guarded: it proves nothing");
            }
        }
        for (what, frames) in forgeries(11, b"guarded!") {
            frames.iter().for_each(|f| a.sends(f));
            assert!(!heard(*b"guarded!", SHORT), "{what} was heard");
        }
    });
}

#[test]
fn a_frame_for_the_bridge_itself_teaches_it_nothing() {
    on_a_host("learning", |lab| async move {
        let dataplane = lab.open();
        for n in [11, 12, 13] {
            let mut plug = plug(1, n);
            plug.port_security_enabled = n == 11;
            // Whoever draws traffic to itself lets it in, too.
            plug.rules =
                [default_rules(), vec![PlannedRule { protocol: None, port_range_min: None, port_range_max: None, ..tcp(1) }]].concat();
            dataplane.plug(&port_id(n), &plug).await.unwrap();
        }
        let [a, b, c] = [11, 12, 13].map(Guest::with_address);
        b.echo(7);
        // LLDP's address, and the MAC of a neighbour: no rule of the packet filter sees such a frame.
        let lldp = ethernet(MacAddress([0x01, 0x80, 0xc2, 0, 0, 0x0e]), mac(12), 0x88cc, &[0; 46]);
        let drawn = |tail: &[u8; 8]| {
            // It is learned where the neighbour is.
            b.sends(&arp(1, mac(12), v4(12), &[]));
            assert!((0..10).any(|_| c.echoed(ip(12), 7, SHORT)));
            let ear = a.ear();
            a.sends(&lldp);
            std::thread::sleep(Duration::from_millis(100)); // they go two ways to the bridge
            let datagram = udp((ip(13), 7000), (ip(12), 7000), tail);
            c.sends(&ethernet(mac(12), mac(13), 0x0800, &ipv4(v4(13), v4(12), 17, None, &datagram)));
            ear.hears(SHORT, |frame| frame.windows(8).any(|w| w == tail))
        };
        assert!(!drawn(b"private!"), "a neighbour's traffic was drawn to another");
        // A bridge that an earlier worker made without this is changed.
        run(&format!("ip link set brq{} type bridge no_linklocal_learn 0", &network_id(1).to_string()[..11]));
        assert!((0..10).any(|_| drawn(b"shown!!!")), "it would not have been drawn anyway: this proves nothing");
        crate::trouble::noticed(&dataplane, 11, "a bridge that learns what it should not").await;
        settle(&dataplane, &port_id(11), &plug(1, 11)).await;
        assert!(!drawn(b"private?"));
    });
}

#[test]
fn an_address_that_changes_hands_takes_no_connection_along() {
    on_a_host("handed-on", |lab| async move {
        use std::io::Write;
        let dataplane = lab.open();
        let mut open = plug(1, 12);
        open.rules.push(tcp(80));
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        dataplane.plug(&port_id(12), &open).await.unwrap();
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        let listener = b.listen(80);
        let mut connection = a.inside(|| std::net::TcpStream::connect("10.0.0.12:80").unwrap());
        // Gone before it can say that nobody listens any more.
        drop(b);
        drop(listener);
        dataplane.unplug(&port_id(12)).await.unwrap();
        let mut next = plug(1, 13);
        next.fixed_ips[0].ip = ip(12);
        dataplane.plug(&port_id(13), &next).await.unwrap();
        let c = Guest::new(13);
        c.run("ip addr add 10.0.0.12/24 dev eth0");
        a.run(&format!("ip neigh replace 10.0.0.12 lladdr {} dev eth0", mac(13)));
        let ear = c.ear();
        connection.write_all(b"for the former owner").unwrap();
        let heard = ear.hears(Duration::from_secs(1), |f| f.windows(20).any(|w| w == b"for the former owner"));
        assert!(!heard, "what was meant for the former owner of its address came to the next one");
    });
}

#[test]
fn fragments_of_two_networks_are_not_put_together() {
    on_a_host("fragments", |lab| async move {
        let dataplane = lab.open();
        let open = |network, n: u8, like: u8| {
            let mut plug = plug(network, like);
            plug.port_security_enabled = false;
            (port_id(n), plug)
        };
        // The same two addresses on two networks.
        for (id, plug) in [open(1, 11, 11), open(1, 12, 12), open(2, 21, 11), open(2, 22, 12)] {
            dataplane.plug(&id, &plug).await.unwrap();
        }
        let [a, b, c, d] = [11, 12, 21, 22].map(Guest::new);
        let ears = [b.ear(), d.ear()];
        let datagram = udp((ip(11), 7000), (ip(12), 7000), b"in the first part, in the second");
        let (first, second) = datagram.split_at(24);
        let frame = |payload: &[u8], fragment| ethernet(EVERYONE, mac(11), 0x0800, &ipv4(v4(11), v4(12), 17, Some(fragment), payload));
        let heard = |ear: &Ear, wait| ear.hears(wait, |f| f.windows(6).any(|w| w == b"second"));
        a.sends(&frame(first, (0, true)));
        c.sends(&frame(second, (24, false)));
        assert!(!heard(&ears[0], SHORT) && !heard(&ears[1], SHORT), "halves of two networks became one");
        // Where the second half belongs, it is one.
        a.sends(&frame(second, (24, false)));
        assert!(heard(&ears[0], LONG) && !heard(&ears[1], SHORT));
    });
}

#[test]
fn a_guest_asks_for_no_lease_but_its_own() {
    on_a_host("chaddr", |lab| async move {
        let dataplane = lab.open();
        for n in [11, 12] {
            dataplane.plug(&port_id(n), &plug(1, n)).await.unwrap();
        }
        let guest = Guest::new(12);
        assert!(dhcp::lease(&guest, mac(12), Duration::from_secs(10)).is_some());
        assert!(dhcp::lease(&guest, mac(11), Duration::from_secs(2)).is_none(), "it spoke to DHCP for its neighbour");
    });
}
