//! Whatever ports say, the ruleset loads; and what it is for a plain port, word for word.

use super::super::testing::{GROUP, any_plug, plug, port_id};
use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};
use uuid::Uuid;

fn text(plugs: &[PlannedPlug], groups: &BTreeMap<SecurityGroupId, Vec<IpNet>>) -> String {
    let ids: Vec<PortId> = (1..=plugs.len()).map(|n| port_id(n as u8)).collect();
    let ports = ids.iter().zip(plugs).zip(1..).map(|((id, plug), number)| Port { id, number, plug }).collect();
    let zones = plugs.iter().map(|p| (p.network, 7)).collect();
    ruleset(&Input { tag: "test", ports, zones: &zones, groups })
}

/// Has nft check it, in a namespace of its own: this neither sees nor changes the machine's rules.
#[allow(unsafe_code)]
fn check(text: &str) -> Result<(), String> {
    std::thread::scope(|scope| {
        let check = scope.spawn(|| {
            // SAFETY: only this thread is concerned, and it ends here.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "these tests need root");
            let mut nft = Command::new("nft").args(["-c", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let done = nft.wait_with_output().unwrap();
            if done.status.success() { Ok(()) } else { Err(format!("{}\n{text}", String::from_utf8_lossy(&done.stderr))) }
        });
        check.join().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_ports_say_it_loads(
        first in any_plug(11),
        second in any_plug(12),
        members in prop::collection::vec((any::<u32>(), 0u8..=32), 0..6),
    ) {
        let members = members.into_iter().map(|(ip, length)| ipnet::Ipv4Net::new(ip.into(), length).unwrap().into()).collect();
        let groups = BTreeMap::from([(GROUP, members), (SecurityGroupId(Uuid::from_u128(10)), vec!["fd00::7/128".parse().unwrap()])]);
        prop_assert_eq!(check(&text(&[first, second], &groups)), Ok(()));
    }
}

#[test]
fn nothing_plugged_is_no_table_and_a_tag_is_a_name() {
    assert_eq!(check(&text(&[], &BTreeMap::new())), Ok(()));
    assert_eq!(table("a b;c\n{}"), "strata_abc");
}

#[test]
fn a_group_that_nobody_spoke_of_has_no_members() {
    let text = text(&[plug(11)], &BTreeMap::new());
    assert!(!text.contains("saddr @group4"), "{text}");
}

#[test]
fn a_plain_port_word_for_word() {
    let groups = BTreeMap::from([(GROUP, vec!["10.0.0.11/32".parse().unwrap(), "fd00::b/128".parse().unwrap()])]);
    let text = text(&[plug(11)], &groups);
    assert_eq!(check(&text), Ok(()));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/linux/plain_port.nft");
    if std::env::var_os("STRATA_BLESS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file).unwrap(), "STRATA_BLESS=1 writes {file} anew");
}
