//! Formats that are known by a few bytes: ISO 9660, and those that are refused whatever they hold.

use crate::header::{be32, is_at};

/// ISO 9660's or UDF's first descriptor, in sector 16.
pub fn is_iso(head: &[u8]) -> bool {
    [&b"CD001"[..], b"BEA01", b"NSR02", b"NSR03"].iter().any(|magic| is_at(head, 0x8001, magic))
}

/// A format that some tool would recognise and that is not accepted.
pub fn unsupported(head: &[u8]) -> Option<&'static str> {
    let by_magic: [(&[u8], &str); 10] = [
        (b"QED\0", "a QED disk"),
        (b"LUKS\xba\xbe", "LUKS-encrypted"),
        (b"SKUL\xba\xbe", "LUKS-encrypted"),
        (b"COWD", "a VMware 3 sparse disk"),
        (b"WithoutFreeSpace", "a Parallels (ploop) disk"),
        (b"WithouFreSpacExt", "a Parallels (ploop) disk"),
        (b"Bochs Virtual HD Image", "a Bochs disk"),
        (b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a compressed loop (cloop) disk"),
        (b"OOOM", "a User-mode Linux copy-on-write disk"),
        (b"MOOO", "a User-mode Linux copy-on-write disk"),
    ];
    if let Some((_, name)) = by_magic.iter().find(|(magic, _)| is_at(head, 0, magic)) {
        return Some(name);
    }
    // qcow versions 2 and 3 are qcow2; everything else with this magic is something that qemu-img may still open.
    if is_at(head, 0, b"QFI\xfb") && !matches!(be32(head, 4), Some(2 | 3)) {
        return Some("a qcow disk of an unknown or obsolete version");
    }
    // A descriptor alone: its extents are other files.
    if head.iter().take(2048).position(|b| !b.is_ascii_whitespace()).is_some_and(|at| {
        let text = &head[at..];
        text.len() >= 21 && text[..21].eq_ignore_ascii_case(b"# Disk DescriptorFile")
    }) {
        return Some("a VMDK descriptor that names its data in other files");
    }
    None
}

/// Those that are known by their end.
pub fn unsupported_tail(tail: &[u8]) -> Option<&'static str> {
    let footer = &tail[tail.len().saturating_sub(512)..];
    (footer.len() == 512 && is_at(footer, 0, b"koly")).then_some("an Apple disk image (dmg)")
}
