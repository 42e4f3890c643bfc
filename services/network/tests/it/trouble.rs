//! What goes wrong, or is done to the host from outside: it stays the trouble of what it concerns, and is mended.

use crate::lab::*;
use crate::{dhcp, nothing_left};
use std::time::Duration;
use strata_network::{Dataplane, Found, LinuxDataplane};
use strata_projections::plan::group::GroupPlan;

/// Until a port is told to be no more what it was.
pub async fn noticed(dataplane: &LinuxDataplane, n: u8, what: &str) {
    let told =
        async { while dataplane.changed().await != Some(port_id(n)) || dataplane.find(&port_id(n)).await.unwrap() != Found::Part {} };
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap_or_else(|_| panic!("{what}: not noticed"));
}

#[test]
fn what_is_removed_by_hand_is_put_back() {
    on_a_host("damage", |lab| async move {
        let dataplane = lab.open();
        let id = port_id(11);
        dataplane.plug(&id, &plug(1, 11)).await.unwrap();
        let short = |id: String| id[..11].to_owned();
        let (network, port) = (network_id(1).to_string(), id.to_string());
        let pid = || lab.dnsmasqs().first().copied().unwrap_or(0);
        let damages = [
            format!("ip link del tap{}", short(port)),
            format!("ip link del brq{}", short(network.clone())),
            format!("ip link set brq{} down", short(network.clone())),
            format!("ip link del dhc{}", short(network.clone())),
            format!("ip netns exec strata-{network} ip addr del 10.0.0.2/24 dev ns-{}", short(network.clone())),
            format!("ip netns del strata-{network}"),
            format!("ip link set brq{} type bridge nf_call_iptables 0", short(network.clone())),
            format!("sysctl -qw net.ipv6.conf.tap{}.disable_ipv6=0", short(id.to_string())),
            "nft delete table inet strata_lab".to_owned(),
            "nft flush ruleset".to_owned(),
            format!("kill -9 {}", pid()),
        ];
        for damage in damages {
            let damage = if damage.starts_with("kill") { format!("kill -9 {}", pid()) } else { damage };
            run(&damage);
            noticed(&dataplane, 11, &damage).await;
            settle(&dataplane, &id, &plug(1, 11)).await;
            assert!(matches!(dataplane.find(&id).await.unwrap(), Found::Whole(_)), "{damage}");
            let guest = Guest::new(11);
            assert!(dhcp::lease(&guest, mac(11), Duration::from_secs(10)).is_some(), "after {damage} it gives no leases");
            assert_eq!(lab.dnsmasqs().len(), 1, "{damage}");
        }
        dataplane.unplug(&id).await.unwrap();
        assert!(nothing_left(&lab));
    });
}

#[test]
fn one_networks_trouble_is_not_anothers() {
    on_a_host("trouble", |lab| async move {
        let dataplane = lab.open();
        // Someone else's device stands where the first network's bridge would.
        let name = format!("brq{}", &network_id(1).to_string()[..11]);
        run(&format!("ip link add {name} type veth peer name other"));
        let why = dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap_err().to_string();
        assert!(why.contains(&format!("a device {name} that Strata did not make")), "{why}");
        dataplane.plug(&port_id(12), &plug(2, 12)).await.unwrap();
        assert!(matches!(dataplane.find(&port_id(12)).await.unwrap(), Found::Whole(_)));
        assert_eq!(dataplane.find(&port_id(11)).await.unwrap(), Found::Part);
        run(&format!("ip link del {name}"));
        settle(&dataplane, &port_id(11), &plug(1, 11)).await;
        assert!(matches!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(_)));
        for n in [11, 12] {
            dataplane.unplug(&port_id(n)).await.unwrap();
        }
        assert!(nothing_left(&lab));
    });
}

#[test]
fn a_port_that_can_not_be_made_blinds_nobody_to_what_is_done_to_another() {
    on_a_host("blind", |lab| async move {
        let dataplane = lab.open();
        dataplane.plug(&port_id(12), &plug(2, 12)).await.unwrap();
        let name = format!("brq{}", &network_id(1).to_string()[..11]);
        run(&format!("ip link add {name} type veth peer name other"));
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap_err();
        run(&format!("ip link set tap{} down", &port_id(12).to_string()[..11]));
        noticed(&dataplane, 12, "a tap that was set down").await;
        settle(&dataplane, &port_id(12), &plug(2, 12)).await;
        assert!(matches!(dataplane.find(&port_id(12)).await.unwrap(), Found::Whole(_)));
    });
}

#[test]
fn what_dnsmasq_reads_is_written_again() {
    on_a_host("files", |lab| async move {
        let dataplane = lab.open();
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        for file in ["hosts", "options"] {
            std::fs::remove_file(lab.directory.join(format!("{}/{file}", network_id(1)))).unwrap();
            // Nobody tells of files: they are seen with whatever is looked at next.
            run("ip link add passing type veth peer name passed");
            run("ip link del passing");
            noticed(&dataplane, 11, file).await;
            settle(&dataplane, &port_id(11), &plug(1, 11)).await;
            assert!(matches!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(_)), "{file}");
        }
        let guest = Guest::new(11);
        assert!(dhcp::lease(&guest, mac(11), Duration::from_secs(10)).is_some());
    });
}

#[test]
fn a_network_that_can_not_be_removed_holds_up_its_own_port_only() {
    on_a_host("removal", |lab| async move {
        let dataplane = lab.open();
        for n in [11, 12] {
            dataplane.plug(&port_id(n), &plug(n - 10, n)).await.unwrap();
        }
        let held = lab.directory.join(format!("{}/held", network_id(1)));
        std::fs::create_dir(&held).unwrap();
        run(&format!("mount -t tmpfs none {}", held.display()));
        dataplane.unplug(&port_id(11)).await.unwrap_err();
        dataplane.unplug(&port_id(12)).await.unwrap();
        run(&format!("umount {}", held.display()));
        dataplane.unplug(&port_id(11)).await.unwrap();
        assert!(nothing_left(&lab));
    });
}

fn members(addresses: &[&str]) -> GroupPlan {
    GroupPlan { id: GROUP, members: addresses.iter().map(|a| a.parse().unwrap()).collect() }
}

#[test]
fn members_that_could_not_be_loaded_are_loaded_when_told_again() {
    on_a_host("members", |lab| async move {
        let dataplane = lab.open();
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        let nft = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].into_iter().find(|p| std::path::Path::new(p).exists()).unwrap();
        // In this test's own mount namespace.
        run(&format!("mount --bind /bin/false {nft}"));
        dataplane.members(&members(&["10.0.0.99/32"])).await.unwrap_err();
        run(&format!("umount {nft}"));
        assert!(!run("nft list ruleset").contains("10.0.0.99"));
        dataplane.members(&members(&["10.0.0.99/32"])).await.unwrap();
        assert!(run("nft list ruleset").contains("10.0.0.99"));
        assert!(matches!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(_)));
    });
}

#[test]
fn a_group_that_is_told_of_before_its_port_comes_is_not_forgotten() {
    on_a_host("early", |lab| async move {
        let dataplane = lab.open();
        dataplane.members(&members(&["10.0.0.99/32"])).await.unwrap();
        // The first look, in which what an earlier worker left over is cleared away.
        let old = lab.directory.join("groups/00000000-0000-0000-0000-00000000dead.json");
        drop(dataplane);
        std::fs::write(&old, "[]").unwrap();
        let dataplane = lab.open();
        dataplane.members(&members(&["10.0.0.99/32"])).await.unwrap();
        run("ip link add passing type veth peer name passed");
        until("the first look was taken", 10, || !old.exists()).await;
        dataplane.plug(&port_id(11), &plug(1, 11)).await.unwrap();
        assert!(run("nft list ruleset").contains("10.0.0.99"));
    });
}

#[test]
fn a_look_costs_what_the_host_has_and_not_that_for_each_port() {
    on_a_host("look", |lab| async move {
        let dataplane = lab.open();
        let ports = 11..51;
        for n in ports.clone() {
            dataplane.plug(&port_id(n), &plug(1, n)).await.unwrap();
        }
        // Let it calm down; then what has been seen holds.
        tokio::time::sleep(Duration::from_millis(800)).await;
        dataplane.list().await.unwrap();
        let spent = |since: Duration| crate::spent() - since;
        let mut once = Duration::MAX;
        for _ in 0..3 {
            // Told anew of what it is: what was seen is in doubt, and nothing is changed.
            dataplane.update(&port_id(11), &plug(1, 11)).await.unwrap();
            let before = crate::spent();
            assert!(matches!(dataplane.find(&port_id(11)).await.unwrap(), Found::Whole(_)));
            once = once.min(spent(before));
        }
        dataplane.update(&port_id(11), &plug(1, 11)).await.unwrap();
        let before = crate::spent();
        assert_eq!(dataplane.list().await.unwrap().len(), ports.len());
        let all = spent(before);
        eprintln!("a look for one port: {once:?}, for {}: {all:?}", ports.len());
        assert!(all < once * 8, "{all:?} for {} ports, {once:?} for one", ports.len());
    });
}

#[test]
fn a_firewall_that_silences_guests_is_told_of() {
    on_a_host("firewall", |lab| async move {
        let dataplane = lab.open();
        for n in [11, 12] {
            let mut plug = plug(1, n);
            plug.rules.push(tcp(80));
            dataplane.plug(&port_id(n), &plug).await.unwrap();
        }
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        let _listener = b.listen(80);
        assert!(a.reaches(ip(12), 80, crate::LONG));
        assert_eq!(dataplane.trouble().await, None);
        run("nft add table ip filter");
        run("nft add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }");
        assert!(!a.reaches(ip(12), 80, Duration::from_millis(600)));
        let why = dataplane.trouble().await.expect("nothing is told of it");
        let (_, advice) = why.split_once('`').unwrap();
        assert!(why.contains("ip filter FORWARD"), "{why}");
        // What it says helps.
        run(&advice.trim_end_matches('`').replace('"', ""));
        assert_eq!(dataplane.trouble().await, None);
        assert!(a.reaches(ip(12), 80, crate::LONG));
    });
}
