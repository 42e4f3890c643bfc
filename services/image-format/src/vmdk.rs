//! VMDK: only monolithicSparse and streamOptimized, whose one extent is the file itself. Everything else, and anything
//! that names a parent or another extent, is refused: a tool that opened it would open what it names.
//! Source: VMware's Virtual Disk Format 5.0, QEMU's block/vmdk.c.

use crate::Refused;
use crate::header::{is_at, le16, le32, le64};

const NAME: &str = "vmdk";
const MAGIC: &[u8] = b"KDMV";
const SECTOR: usize = 512;
/// The descriptor's sectors, at most; every writer makes 20.
const MAX_DESCRIPTOR: u64 = 128;
/// The grain directory's place when it is told in the footer only.
const AT_END: u64 = u64::MAX;

pub fn is(head: &[u8]) -> bool {
    is_at(head, 0, MAGIC)
}

fn broken(what: &'static str) -> Refused {
    Refused::Broken(NAME, what)
}

/// The sparse header, which stands in the first sector and, in streams, again in the footer.
#[derive(PartialEq, Eq)]
struct Sparse {
    version: u32,
    capacity: u64,
    grain: u64,
    descriptor_at: u64,
    descriptor_sectors: u64,
    entries_per_table: u32,
    directory_at: u64,
    compression: u16,
}

fn sparse(sector: &[u8]) -> Option<Sparse> {
    Some(Sparse {
        version: le32(sector, 4)?,
        capacity: le64(sector, 12)?,
        grain: le64(sector, 20)?,
        descriptor_at: le64(sector, 28)?,
        descriptor_sectors: le64(sector, 36)?,
        entries_per_table: le32(sector, 44)?,
        directory_at: le64(sector, 56)?,
        compression: le16(sector, 77)?,
    })
}

/// The virtual size.
pub fn inspect(head: &[u8], tail: &[u8], length: u64) -> Result<u64, Refused> {
    let first = head.get(..SECTOR).and_then(sparse).ok_or_else(|| broken("it is shorter than a header"))?;
    if !(1..=3).contains(&first.version) {
        return Err(broken("its version is not 1, 2 or 3"));
    }
    if first.capacity == 0 {
        return Err(Refused::External(NAME, "a descriptor in place of data"));
    }
    if first.descriptor_at != 1 || first.descriptor_sectors == 0 || first.descriptor_sectors > MAX_DESCRIPTOR {
        return Err(broken("its descriptor is not in the second sector, or is missing or too large"));
    }
    if first.grain == 0 || !first.grain.is_power_of_two() || first.grain > 128 << 11 || !(1..=512).contains(&first.entries_per_table) {
        return Err(broken("its grain size or table size is impossible"));
    }
    if first.compression > 1 {
        return Err(Refused::Feature(NAME, "a compression that is not known"));
    }
    let virtual_size = first.capacity.checked_mul(SECTOR as u64).ok_or_else(|| broken("its capacity is impossible"))?;

    let end = SECTOR + first.descriptor_sectors as usize * SECTOR;
    let descriptor = head.get(SECTOR..end).ok_or_else(|| broken("it ends within its descriptor"))?;
    let stream = self::descriptor(descriptor)?;

    if first.directory_at == AT_END {
        if !stream {
            return Err(broken("only a streamOptimized image has a footer"));
        }
        // Tools take the footer's header instead of the first, so it must say the same.
        let footer = tail.get(SECTOR..2 * SECTOR).filter(|f| is(f)).and_then(sparse);
        let footer = footer.ok_or_else(|| broken("its footer is missing; the upload may be truncated"))?;
        if (Sparse { directory_at: AT_END, ..footer }) != first {
            return Err(broken("its footer contradicts its header"));
        }
    } else if first.directory_at.checked_mul(SECTOR as u64).is_none_or(|at| at >= length) {
        return Err(broken("its grain directory lies outside the file; the upload may be truncated"));
    }
    Ok(virtual_size)
}

/// Whether it is a stream; refused unless the file is its own and only extent.
fn descriptor(bytes: &[u8]) -> Result<bool, Refused> {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    if bytes[text.len()..].iter().any(|b| *b != 0) {
        return Err(broken("its descriptor holds more than its text"));
    }
    let Ok(text) = std::str::from_utf8(text) else { return Err(broken("its descriptor is not text")) };
    let (mut kind, mut extents, mut magic) = (None, 0, false);
    for line in text.lines().map(str::trim) {
        magic |= line.to_ascii_lowercase().starts_with("# disk descriptorfile");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split(['=', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
        let value = || line.split_once('=').map(|(_, v)| v.trim().trim_matches('"')).unwrap_or_default();
        match key.as_str() {
            "createtype" if kind.is_none() => kind = Some(value().to_owned()),
            "createtype" => return Err(broken("its descriptor names two types")),
            "parentcid" if !value().eq_ignore_ascii_case("ffffffff") => return Err(Refused::External(NAME, "a parent disk")),
            "parentfilenamehint" => return Err(Refused::External(NAME, "a parent disk")),
            "changetrackpath" => return Err(Refused::External(NAME, "a change tracking file")),
            "rw" | "rdonly" | "noaccess" => {
                extents += 1;
                extent(line)?;
            }
            _ if line.contains('=') => {}
            _ => return Err(broken("its descriptor has a line that is neither a setting nor an extent")),
        }
    }
    if !magic {
        return Err(broken("its descriptor has no heading"));
    }
    if extents != 1 {
        return Err(Refused::External(NAME, "not exactly one extent"));
    }
    match kind.as_deref() {
        Some("monolithicSparse") => Ok(false),
        Some("streamOptimized") => Ok(true),
        _ => Err(Refused::External(NAME, "a type other than monolithicSparse and streamOptimized")),
    }
}

/// `RW 838 SPARSE "disk.vmdk"`: readable, sparse, and a bare file name, which tools ignore here.
fn extent(line: &str) -> Result<(), Refused> {
    let mut words = line.splitn(4, [' ', '\t']);
    let (access, sectors, kind, file) = (words.next(), words.next(), words.next(), words.next().unwrap_or_default().trim());
    let name = file.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or_default();
    let plain = !name.is_empty() && !name.contains(['/', '\\', ':', '"']) && !name.contains("..");
    let sane = access.is_some_and(|a| a.eq_ignore_ascii_case("RW") || a.eq_ignore_ascii_case("RDONLY"))
        && sectors.is_some_and(|s| s.parse::<u64>().is_ok())
        && kind.is_some_and(|k| k.eq_ignore_ascii_case("SPARSE"));
    if sane && plain { Ok(()) } else { Err(Refused::External(NAME, "an extent in another file")) }
}
