//! What dnsmasq is told, and that nothing a user wrote tells it more.

use super::super::testing::{V6, any_plug, mac, plug, port_id};
use super::*;
use proptest::prelude::*;
use strata_events::port::DhcpOption;

fn of(plugs: &[PlannedPlug]) -> Files {
    let ids: Vec<PortId> = (1..=plugs.len()).map(|n| port_id(n as u8)).collect();
    files(&plugs[0].network, &plugs[0], ids.iter().zip(plugs), Path::new("/tmp/network"))
}

#[test]
fn a_port_has_a_line_for_each_subnet_and_its_subnets_their_options() {
    let files = of(&[plug(11)]);
    let tag = "01010101010101010101010101010101";
    assert_eq!(files.hosts, format!("fa:16:3e:00:00:0b,set:p{tag},guest11,10.0.0.11\nfa:16:3e:00:00:0b,set:p{tag},guest11,[fd00::b]\n"));
    assert!(files.options.contains(",3,10.0.0.1\n"), "{}", files.options);
    assert!(files.options.contains(",121,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1\n"), "{}", files.options);
    assert!(files.conf.contains(",10.0.0.0,static,255.255.255.0,86400s\n"), "{}", files.conf);
    assert!(files.conf.contains("enable-ra\n"));
}

#[test]
fn without_a_gateway_there_is_no_router_and_without_an_address_no_dhcp() {
    let mut one = plug(11);
    one.subnets[0].gateway = None;
    one.dhcp.as_mut().unwrap().fixed_ips.retain(|f| f.subnet != V6);
    let files = of(&[one]);
    assert!(files.options.lines().any(|l| l.ends_with(",3")), "{}", files.options);
    assert!(!files.conf.contains("fd00::") && !files.hosts.contains("fd00::"));
}

#[test]
fn what_would_be_an_option_of_its_own_is_left_out() {
    let mut one = plug(11);
    one.hostname = Some("evil\ndhcp-script=/bin/sh".into());
    one.dns_domain = "a.example,10.0.0.0/8".into();
    let option = |name: &str, value: &str| DhcpOption { opt_name: name.into(), opt_value: value.into(), ip_version: 4 };
    one.extra_dhcp_opts = vec![option("bootfile-name", "x\nconf-file=/etc/passwd"), option("a,b", "c"), option("66", "10.0.0.9")];
    let files = of(&[one]);
    let all = format!("{}{}{}", files.conf, files.hosts, files.options);
    assert!(
        !all.contains("evil") && !all.contains("passwd") && !all.contains("a,b") && files.conf.contains("domain=openstacklocal\n"),
        "{all}"
    );
    assert!(files.options.contains(",66,10.0.0.9\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// Each line is one that we meant, whatever users write.
    #[test]
    fn every_line_is_ours(one in any_plug(11), two in any_plug(12)) {
        let files = of(&[one, two]);
        for line in files.hosts.lines() {
            prop_assert!(line.starts_with("fa:16:3e:00:00:0") && line.split(',').count() <= 4, "{}", line);
        }
        for line in files.options.lines() {
            prop_assert!(line.starts_with("tag:s") || line.starts_with("tag:p"), "{}", line);
        }
        let keys = ["port", "bind-interfaces", "except-interface", "no-hosts", "no-resolv", "dhcp-authoritative", "leasefile-ro", "quiet-dhcp",
            "quiet-dhcp6", "quiet-ra", "log-facility", "user", "group", "interface", "domain", "pid-file", "dhcp-hostsfile", "dhcp-optsfile",
            "dhcp-range", "enable-ra", "ra-param", "dhcp-lease-max"];
        for line in files.conf.lines().skip(1) {
            prop_assert!(keys.contains(&line.split('=').next().unwrap_or_default()), "{}", line);
        }
    }
}

#[test]
fn a_dnsmasq_begins_anew_when_an_address_changed_hands_or_it_remembers_too_much() {
    let leases = |n: u16| (0..n).map(|n| (IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), mac(1))).collect::<BTreeMap<_, _>>();
    assert!(!has_to_forget(&leases(1000), &leases(1)) && !has_to_forget(&leases(1), &leases(2000)));
    assert!(has_to_forget(&leases(2000), &leases(1)));
    let other = BTreeMap::from([(IpAddr::from([10, 0, 0, 0]), mac(2))]);
    assert!(has_to_forget(&leases(1), &other));
}
