//! qcow2, versions 2 and 3. Refused: a backing file, an external data file, encryption, features that are unknown, and
//! tables that lie outside the file or are larger than any tool makes them.
//! Source: QEMU's docs/interop/qcow2.rst.

use crate::Refused;
use crate::header::{be32, be64, is_at};

const NAME: &str = "qcow2";
/// Dirty (a crash while it was open; repaired when it is next opened), compression type, extended L2 entries.
const ACCEPTED: u64 = 1 | 1 << 3 | 1 << 4;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
/// What QEMU itself takes at most, in bytes.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;

pub fn is(head: &[u8]) -> bool {
    is_at(head, 0, b"QFI\xfb")
}

/// What the header says that must be compared with the file's length.
pub struct Header {
    virtual_size: u64,
    cluster: u64,
    l1: (u64, u64),
    refcounts: (u64, u64),
    snapshots: (u64, u32),
}

fn broken(what: &'static str) -> Refused {
    Refused::Broken(NAME, what)
}

/// Everything that can be judged from the head alone.
pub fn header(head: &[u8]) -> Result<Header, Refused> {
    let short = || broken("it is shorter than a header");
    let version = be32(head, 4).ok_or_else(short)?;
    let (backing_at, backing_len) = (be64(head, 8).ok_or_else(short)?, be32(head, 16).ok_or_else(short)?);
    let cluster_bits = be32(head, 20).ok_or_else(short)?;
    let virtual_size = be64(head, 24).ok_or_else(short)?;
    let crypt = be32(head, 32).ok_or_else(short)?;
    let (l1_entries, l1_at) = (be32(head, 36).ok_or_else(short)?, be64(head, 40).ok_or_else(short)?);
    let (refcount_at, refcount_clusters) = (be64(head, 48).ok_or_else(short)?, be32(head, 56).ok_or_else(short)?);
    let (snapshots, snapshots_at) = (be32(head, 60).ok_or_else(short)?, be64(head, 64).ok_or_else(short)?);

    if backing_at != 0 || backing_len != 0 {
        return Err(Refused::External(NAME, "a backing file"));
    }
    if crypt != 0 {
        return Err(Refused::Encrypted(NAME));
    }
    if !(9..=21).contains(&cluster_bits) {
        return Err(broken("its cluster size is not between 512 B and 2 MiB"));
    }
    let cluster = 1u64 << cluster_bits;
    let mut extended_l2 = false;
    let mut header_length = 72u32;
    if version >= 3 {
        let features = be64(head, 72).ok_or_else(short)?;
        let refcount_order = be32(head, 96).ok_or_else(short)?;
        header_length = be32(head, 100).ok_or_else(short)?;
        if features & DATA_FILE != 0 {
            return Err(Refused::External(NAME, "an external data file"));
        }
        if features & CORRUPT != 0 {
            return Err(broken("it is marked corrupt; repair it with 'qemu-img check -r all'"));
        }
        if features & !(ACCEPTED | CORRUPT | DATA_FILE) != 0 {
            return Err(Refused::Feature(NAME, "an incompatible feature that is not known"));
        }
        if refcount_order > 6 {
            return Err(broken("its reference counts are wider than 64 bits"));
        }
        if header_length < 104 || !header_length.is_multiple_of(8) || u64::from(header_length) > cluster {
            return Err(broken("its header length is impossible"));
        }
        if features & 1 << 3 != 0 && (header_length < 112 || head.get(104).is_none_or(|kind| *kind > 1)) {
            return Err(Refused::Feature(NAME, "a compression type that is not known"));
        }
        extended_l2 = features & 1 << 4 != 0;
        if extended_l2 && cluster_bits < 14 {
            return Err(broken("extended L2 entries need clusters of 16 KiB"));
        }
    }
    extensions(head, header_length as usize, cluster)?;

    let l1_bytes = u64::from(l1_entries) * 8;
    if l1_bytes > MAX_L1 {
        return Err(broken("its L1 table is larger than 32 MiB"));
    }
    let per_l2_entry = if extended_l2 { 16 } else { 8 };
    let covered_by_one = cluster.saturating_mul(cluster / per_l2_entry);
    if virtual_size.div_ceil(covered_by_one) > u64::from(l1_entries) {
        return Err(broken("its L1 table is too small for its virtual size"));
    }
    let refcount_bytes = u64::from(refcount_clusters).saturating_mul(cluster);
    if refcount_bytes > MAX_REFCOUNT_TABLE.max(cluster) || refcount_bytes == 0 {
        return Err(broken("the size of its reference count table is impossible"));
    }
    if refcount_at == 0 || [refcount_at, l1_at, snapshots_at].iter().any(|at| !at.is_multiple_of(cluster)) {
        return Err(broken("a table does not begin at a cluster"));
    }
    if snapshots > MAX_SNAPSHOTS {
        return Err(broken("it has more than 65536 snapshots"));
    }
    Ok(Header {
        virtual_size,
        cluster,
        l1: (l1_at, l1_bytes),
        refcounts: (refcount_at, refcount_bytes),
        snapshots: (snapshots_at, snapshots),
    })
}

/// Walks the header extensions, which end in the first cluster.
fn extensions(head: &[u8], from: usize, cluster: u64) -> Result<(), Refused> {
    const END: u32 = 0;
    const BACKING_FORMAT: u32 = 0xE279_2ACA;
    const DATA_FILE_NAME: u32 = 0x4441_5441;
    const ENCRYPTION: u32 = 0x0537_BE77;
    let end = usize::try_from(cluster).unwrap_or(usize::MAX);
    let mut at = from;
    // Each step moves on by at least 8 bytes within the head, so this ends.
    while at + 8 <= end {
        let Some((kind, length)) = be32(head, at).zip(be32(head, at + 4)) else {
            return Err(broken("its header extensions do not end"));
        };
        match kind {
            END => return Ok(()),
            BACKING_FORMAT => return Err(Refused::External(NAME, "a backing file's format")),
            DATA_FILE_NAME => return Err(Refused::External(NAME, "an external data file")),
            ENCRYPTION => return Err(Refused::Encrypted(NAME)),
            _ => {}
        }
        let padded = (length as usize).checked_add(7).map(|n| n & !7);
        at = match padded.and_then(|n| at.checked_add(8)?.checked_add(n)).filter(|next| *next <= end) {
            Some(next) => next,
            None => return Err(broken("a header extension is longer than the first cluster")),
        };
    }
    Ok(())
}

/// The virtual size.
pub fn inspect(head: &[u8], length: u64) -> Result<u64, Refused> {
    let header = header(head)?;
    // The file's last cluster need not be written whole.
    let whole = length.div_ceil(header.cluster).saturating_mul(header.cluster);
    let inside = |(at, size): (u64, u64)| at.checked_add(size).is_some_and(|end| end <= whole) && (size == 0 || at < length);
    if !inside(header.l1) || (header.l1.1 > 0 && header.l1.0 == 0) {
        return Err(broken("its L1 table lies outside the file; the upload may be truncated"));
    }
    if !inside(header.refcounts) {
        return Err(broken("its reference count table lies outside the file; the upload may be truncated"));
    }
    if header.snapshots.1 > 0 && (header.snapshots.0 == 0 || header.snapshots.0 >= length) {
        return Err(broken("its snapshot table lies outside the file"));
    }
    Ok(header.virtual_size)
}
