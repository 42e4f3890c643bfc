//! The Linux data plane against a real kernel, nft and dnsmasq, each test on a host of its own (see `lab`).

#![allow(clippy::unwrap_used)]

mod crashes;
mod dhcp;
mod frames;
mod guard;
mod lab;
mod sessions;
mod trouble;

use lab::*;
use std::time::Duration;
use strata_network::{Dataplane, Found};
use strata_projections::plan::group::GroupPlan;

/// How long an answer may take on a busy machine; one that shall not come is waited for less long.
pub const LONG: Duration = Duration::from_secs(4);

pub fn nothing_left(lab: &Lab) -> bool {
    let links = run("ip -o link");
    let names = run("ls /run/netns");
    let tables = run("nft list tables");
    let none = |text: &str, of: &str| !text.contains(of);
    ["tap", "brq", "dhc", "ns-"].iter().all(|d| none(&links, d))
        && none(&names, "strata-")
        && none(&tables, "strata")
        && lab.dnsmasqs().is_empty()
}

#[test]
fn a_guest_gets_its_address_and_all_goes_with_its_port() {
    on_a_host("lease", |lab| async move {
        let dataplane = lab.open();
        assert_eq!(dataplane.find(&port_id(11)).await.unwrap(), Found::Nothing);
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        assert_eq!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(Box::new(plug(1, 11))));
        let guest = Guest::new(11);
        let lease = dhcp::lease(&guest, mac(11), Duration::from_secs(10)).expect("no lease");
        assert_eq!(lease.ip.to_string(), "10.0.0.11");
        let option = |n: u8| lease.options.get(&n).cloned().unwrap_or_default();
        assert_eq!(option(3), [10, 0, 0, 1]);
        assert_eq!(option(6), [10, 0, 0, 53]);
        assert_eq!(option(12), b"guest11");
        assert_eq!(option(26), 1450u16.to_be_bytes());
        assert_eq!(option(121), [32, 169, 254, 169, 254, 10, 0, 0, 2, 0, 10, 0, 0, 1]);
        drop(guest);
        dataplane.unplug(&port_id(11)).await.unwrap();
        assert_eq!(dataplane.find(&port_id(11)).await.unwrap(), Found::Nothing);
        assert!(nothing_left(&lab), "{}{}{}", run("ip -o link"), run("ls /run/netns"), run("nft list ruleset"));
    });
}

#[test]
fn a_restarted_worker_changes_nothing() {
    on_a_host("restart", |lab| async move {
        let first = lab.open();
        for n in 11..14 {
            first.plug(&port_id(n), &plug(1, n)).await.unwrap();
        }
        first.members(&GroupPlan { id: GROUP, members: vec!["10.0.0.0/24".parse().unwrap()] }).await.unwrap();
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        b.echo(7);
        until("the guests reach each other", 5, || a.echoed(ip(12), 7, Duration::from_millis(200))).await;
        drop(first);
        let second = lab.open();
        second.members(&GroupPlan { id: GROUP, members: vec!["10.0.0.0/24".parse().unwrap()] }).await.unwrap();
        for n in 11..14 {
            assert_eq!(second.find(&port_id(n)).await.unwrap(), Found::Whole(Box::new(plug(1, n))));
            assert!(a.echoed(ip(12), 7, LONG));
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(second.changes(), 0, "a correct host is not touched");
    });
}

#[test]
fn the_default_group_lets_nobody_in_but_its_members() {
    on_a_host("groups", |lab| async move {
        let dataplane = lab.open();
        for n in [11, 12] {
            dataplane.plug(&port_id(n), &plug(1, n)).await.unwrap();
        }
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        b.echo(7);
        let listener = b.listen(80);
        let short = Duration::from_millis(400);
        assert!(!a.echoed(ip(12), 7, short), "nobody is known to be a member yet");
        let members = GroupPlan { id: GROUP, members: vec!["10.0.0.11/32".parse().unwrap()] };
        dataplane.members(&members).await.unwrap();
        assert!(a.echoed(ip(12), 7, LONG), "a member gets in, and the answer out");
        assert!(!b.echoed(ip(11), 7, short), "who is no member doesn't");
        dataplane.members(&GroupPlan { members: vec![], ..members }).await.unwrap();
        assert!(!a.reaches(ip(12), 80, short));
        // A rule that comes and goes reaches the port that is there.
        let mut open = plug(1, 12);
        open.rules.push(tcp(80));
        dataplane.update(&port_id(12), &open).await.unwrap();
        assert!(a.reaches(ip(12), 80, LONG));
        // It ends what it had let through when it goes, and nothing else.
        let keep = a.listen(22);
        let mut ssh = plug(1, 11);
        ssh.rules.push(tcp(22));
        dataplane.update(&port_id(11), &ssh).await.unwrap();
        let mut kept = b.inside(|| std::net::TcpStream::connect("10.0.0.11:22").unwrap());
        let mut cut = a.inside(|| std::net::TcpStream::connect("10.0.0.12:80").unwrap());
        let (mut cut_end, mut kept_end) = (listener.accept().unwrap().0, keep.accept().unwrap().0);
        // The one before that only looked whether anyone answers.
        if cut_end.peer_addr().unwrap() != cut.local_addr().unwrap() {
            cut_end = listener.accept().unwrap().0;
        }
        let carries = |from: &mut std::net::TcpStream, to: &mut std::net::TcpStream| {
            use std::io::{Read, Write};
            to.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
            from.write_all(b"x").unwrap();
            to.read_exact(&mut [0]).is_ok()
        };
        assert!(carries(&mut cut, &mut cut_end) && carries(&mut cut_end, &mut cut) && carries(&mut kept, &mut kept_end));
        dataplane.update(&port_id(12), &plug(1, 12)).await.unwrap();
        assert!(!a.reaches(ip(12), 80, short));
        assert!(!carries(&mut cut, &mut cut_end), "an established connection outlived its rule");
        assert!(carries(&mut kept, &mut kept_end) && carries(&mut kept_end, &mut kept), "another's connection was cut");
        // Metadata's place is reached, whoever is a member.
        let namespace = lab.config().namespace(&network_id(1));
        let metadata =
            strata_network::linux::netns::in_namespace(&namespace, || std::net::TcpListener::bind("169.254.169.254:80")).unwrap().unwrap();
        a.run("ip route add 169.254.169.254/32 via 10.0.0.2");
        assert!(a.reaches("169.254.169.254".parse().unwrap(), 80, LONG));
        drop((listener, metadata));
    });
}

#[test]
fn an_address_that_changes_hands_is_leased_to_its_new_owner() {
    on_a_host("reuse", |lab| async move {
        let dataplane = lab.open();
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        dataplane.plug(&port_id(12), &plug(1, 12)).await.unwrap();
        let guest = Guest::new(11);
        assert!(dhcp::lease(&guest, mac(11), Duration::from_secs(10)).is_some());
        drop(guest);
        dataplane.unplug(&port_id(11)).await.unwrap();
        let mut next = plug(1, 13);
        next.fixed_ips[0].ip = ip(11);
        // Two servers may have one name.
        next.hostname = Some("guest12".into());
        dataplane.plug(&port_id(13), &next).await.unwrap();
        let guest = Guest::new(13);
        let lease = dhcp::lease(&guest, mac(13), Duration::from_secs(10)).expect("no lease");
        assert_eq!(lease.ip.to_string(), "10.0.0.11");
        let namesake = Guest::new(12);
        let lease = dhcp::lease(&namesake, mac(12), Duration::from_secs(10)).expect("no lease for its namesake");
        assert_eq!(lease.ip.to_string(), "10.0.0.12");
    });
}

#[test]
fn a_host_is_cleared_whatever_state_it_is_in() {
    on_a_host("clear", |lab| async move {
        let first = lab.open();
        for n in 11..14 {
            first.plug(&port_id(n), &plug(n % 2, n)).await.unwrap();
        }
        drop(first);
        // One is damaged, of one the note is torn, and one network is known only by its own.
        run(&format!("ip link del tap{}", &port_id(11).to_string()[..11]));
        std::fs::write(lab.directory.join(format!("ports/{}.json", port_id(12))), "{").unwrap();
        let second = lab.open();
        assert_eq!(second.find(&port_id(11)).await.unwrap(), Found::Part);
        assert_eq!(second.find(&port_id(12)).await.unwrap(), Found::Part);
        second.clear().await.unwrap();
        assert!(nothing_left(&lab), "{}{}{}", run("ip -o link"), run("ls /run/netns"), run("nft list ruleset"));
        assert_eq!(std::fs::read_dir(lab.directory.join("ports")).unwrap().count(), 0);
    });
}

#[test]
fn many_ports_at_once_and_overlapping_networks() {
    on_a_host("many", |lab| async move {
        let dataplane = std::sync::Arc::new(lab.open());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 11..31 {
            let dataplane = dataplane.clone();
            tasks.spawn(async move { dataplane.plug(&port_id(n), &plug(n % 2, if n % 2 == 0 { n } else { n - 1 })).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(dataplane.list().await.unwrap().len(), 20);
        assert_eq!(lab.dnsmasqs().len(), 2);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 11..31 {
            let dataplane = dataplane.clone();
            tasks.spawn(async move { dataplane.unplug(&port_id(n)).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert!(nothing_left(&lab));
    });
}

#[test]
fn a_guest_gives_itself_the_address_of_a_slaac_subnet_and_is_told_of_no_router() {
    on_a_host("slaac", |lab| async move {
        let dataplane = lab.open();
        let mut six = plug(1, 11);
        let id = strata_events::SubnetId(uuid::Uuid::from_u128(0x60));
        let slaac = Some("slaac".to_owned());
        six.subnets.push(strata_projections::plan::subnet::PlannedSubnet {
            id,
            cidr: "fd00:5::/64".parse().unwrap(),
            gateway: None,
            dns_nameservers: vec![],
            ipv6_address_mode: slaac.clone(),
            ipv6_ra_mode: slaac,
            ..six.subnets[0].clone()
        });
        let fixed = |ip: &str| strata_events::port::FixedIp { subnet: id, ip: ip.parse().unwrap() };
        six.dhcp.as_mut().unwrap().fixed_ips.push(fixed("fd00:5::f816:3eff:fe00:2"));
        six.fixed_ips.push(fixed("fd00:5::f816:3eff:fe00:b"));
        dataplane.plug(&port_id(11), &six).await.unwrap();
        assert!(matches!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(_)));
        let guest = Guest::new(11);
        until("the guest has its address", 20, || guest.run("ip -6 -o addr show dev eth0").contains("fd00:5::f816:3eff:fe00:b/64")).await;
        assert_eq!(guest.run("ip -6 route show default"), "");
        assert!(dhcp::lease(&guest, mac(11), Duration::from_secs(5)).is_some(), "and its IPv4 address as well");
        dataplane.unplug(&port_id(11)).await.unwrap();
        drop(guest);
        assert!(nothing_left(&lab));
    });
}

#[test]
fn an_idle_worker_with_forty_ports_costs_next_to_nothing() {
    on_a_host("idle", |lab| async move {
        let dataplane = lab.open();
        let begun = std::time::Instant::now();
        let before = spent();
        for n in 11..51 {
            dataplane.plug(&port_id(n), &plug(1, n)).await.unwrap();
        }
        eprintln!("40 ports, one after the other: {:?}, CPU {:?}", begun.elapsed(), spent() - before);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (begun, before, changes) = (std::time::Instant::now(), spent(), dataplane.changes());
        tokio::time::sleep(Duration::from_secs(12)).await;
        let share = (spent() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        eprintln!("idle: {:.3} % of a core", share * 100.0);
        // Looking at everything with each glance, and not only when something stirs or half a minute is over, costs more than twice as much.
        assert!(share < 0.001, "{:.2} % of a core", share * 100.0);
        assert_eq!(dataplane.changes(), changes);
    });
}

/// CPU time of this test's thread, and so of its runtime.
#[allow(unsafe_code)]
fn spent() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is of the type that is asked for.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) }, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
