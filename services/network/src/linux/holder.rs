//! Finds the guest that holds a tap which is there no more. Its QEMU process has the descriptor still, which leads nowhere.
//! Invariant: only processes of root or of libvirt's user are believed what their command line says; and of those only
//! the instance's own. A MAC is unique on its network only, and an owner may choose it: it alone would lead to another's guest.

use serde_json::Value;
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use strata_events::InstanceId;
use strata_events::port::MacAddress;

/// A process and the place of the lost tap among its descriptors.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub descriptor: RawFd,
    /// Its NIC leaves checksums and segments to the host.
    pub offloads: bool,
}

/// Users as which libvirt runs QEMU: Debian's, and that of others.
const USERS: [&str; 2] = ["libvirt-qemu", "qemu"];

/// Looks through all processes: for a port that was damaged only.
pub fn find(instance: &InstanceId, mac: MacAddress) -> Option<Holder> {
    let trusted = trusted(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    processes.into_iter().find_map(|pid| {
        let process = format!("/proc/{pid}");
        if !trusted.contains(&fs::metadata(&process).ok()?.uid()) {
            return None;
        }
        let (descriptor, offloads) = nic(&fs::read(format!("{process}/cmdline")).ok()?, instance, mac)?;
        let tun = fs::read_link(format!("{process}/fd/{descriptor}")).is_ok_and(|at| at.ends_with("net/tun"));
        let lost = fs::read_to_string(format!("{process}/fdinfo/{descriptor}")).is_ok_and(|info| leads_nowhere(&info));
        (tun && lost).then_some(Holder { pid, descriptor, offloads })
    })
}

fn trusted(passwd: &str) -> Vec<u32> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let known = USERS.contains(&fields.next()?);
        fields.nth(1)?.parse().ok().filter(|_| known)
    };
    [0].into_iter().chain(passwd.lines().filter_map(of)).collect()
}

/// Whether it is this instance's QEMU: its domain has the instance's id, and libvirt passes it on as `-uuid ID`.
fn is_of(words: &[&[u8]], instance: &InstanceId) -> bool {
    let id = instance.to_string();
    words.windows(2).any(|pair| pair[0] == b"-uuid" && pair[1].eq_ignore_ascii_case(id.as_bytes()))
}

/// The descriptor behind this instance's QEMU's NIC with this MAC, and whether that is a virtio NIC. libvirt writes both of a NIC's halves as
/// JSON, `-netdev {"type":"tap","fd":"26","id":"hostnet0"}` and `-device {"netdev":"hostnet0","mac":"fa:16:3e:…",…}`.
fn nic(command_line: &[u8], instance: &InstanceId, mac: MacAddress) -> Option<(RawFd, bool)> {
    let words: Vec<&[u8]> = command_line.split(|b| *b == 0).collect();
    if !is_of(&words, instance) {
        return None;
    }
    let halves: Vec<Value> = words.iter().filter_map(|word| serde_json::from_slice(word).ok()).collect();
    let is = |half: &Value, field: &str, value: &str| half[field].as_str().is_some_and(|v| v.eq_ignore_ascii_case(value));
    let device = halves.iter().find(|half| is(half, "mac", &mac.to_string()))?;
    let netdev = device["netdev"].as_str()?;
    let tap = halves.iter().find(|half| is(half, "type", "tap") && is(half, "id", netdev))?;
    let virtio = device["driver"].as_str()?.starts_with("virtio");
    Some((tap["fd"].as_str()?.parse().ok()?, virtio))
}

/// Whether an open /dev/net/tun has no device: its line `iff:` is empty then (drivers/net/tun.c, tun_chr_show_fdinfo).
fn leads_nowhere(info: &str) -> bool {
    info.lines().any(|line| line.strip_prefix("iff:").is_some_and(|name| name.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mac(n: u8) -> MacAddress {
        MacAddress([0xfa, 0x16, 0x3e, 0, 0, n])
    }

    const SERVER: InstanceId = InstanceId(uuid::Uuid::from_u128(0xabc));

    #[test]
    fn a_nic_is_found_by_its_mac_among_others() {
        let words = [
            "/usr/bin/qemu-system-x86_64",
            "-name",
            "guest=instance-1,debug-threads=on",
            "-uuid",
            "00000000-0000-0000-0000-000000000abc",
            r#"{"type":"tap","fd":"26","vhost":true,"vhostfd":"28","id":"hostnet0"}"#,
            r#"{"driver":"virtio-net-pci","host_mtu":1450,"netdev":"hostnet0","id":"net0","mac":"fa:16:3e:00:00:01","bus":"pci.1"}"#,
            r#"{"type":"tap","fd":"31","id":"hostnet1"}"#,
            r#"{"driver":"e1000e","netdev":"hostnet1","id":"net1","mac":"FA:16:3E:00:00:02"}"#,
            r#"{"driver":"virtio-net-pci","netdev":"hostnet2","mac":"fa:16:3e:00:00:03"}"#,
        ];
        let line = words.join("\0").into_bytes();
        assert_eq!(nic(&line, &SERVER, mac(1)), Some((26, true)));
        assert_eq!(nic(&line, &SERVER, mac(2)), Some((31, false)));
        assert_eq!(nic(&line, &SERVER, mac(3)), None, "its other half is not there");
        assert_eq!(nic(&line, &SERVER, mac(4)), None);
    }

    /// Somebody else may give a port of theirs, on a network of theirs, the same MAC.
    #[test]
    fn a_nic_of_another_instance_is_not_taken_for_its_mac() {
        let words = [
            "qemu",
            "-uuid",
            "00000000-0000-0000-0000-000000000def",
            r#"{"type":"tap","fd":"26","id":"hostnet0"}"#,
            r#"{"driver":"virtio-net-pci","netdev":"hostnet0","mac":"fa:16:3e:00:00:01"}"#,
        ];
        let line = words.join("\0").into_bytes();
        assert_eq!(nic(&line, &SERVER, mac(1)), None);
        assert_eq!(nic(&line, &InstanceId(uuid::Uuid::from_u128(0xdef)), mac(1)), Some((26, true)));
    }

    #[test]
    fn a_descriptor_leads_nowhere_when_the_kernel_names_no_device() {
        assert!(leads_nowhere("pos:\t0\nflags:\t02104002\niff:\t\n"));
        assert!(!leads_nowhere("pos:\t0\nflags:\t02104002\niff:\ttap0\n"));
        assert!(!leads_nowhere("pos:\t0\n"), "not a tun at all");
    }

    #[test]
    fn only_root_and_the_users_of_libvirt_are_trusted() {
        let passwd = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/:/bin/sh\nlibvirt-qemu:x:64055:64055::/:/bin/false\n";
        assert_eq!(trusted(passwd), [0, 64055]);
    }

    proptest! {
        #[test]
        fn no_command_line_upsets_it(line in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,200}") {
            nic(&line, &SERVER, mac(1));
            nic(text.as_bytes(), &SERVER, mac(1));
            leads_nowhere(&text);
            trusted(&text);
        }
    }
}
