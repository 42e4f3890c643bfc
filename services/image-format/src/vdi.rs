//! VDI (VirtualBox): dynamic and static. Undo and differencing disks have a parent and are refused.

use crate::Refused;
use crate::header::{is_at, le32, le64};

const NAME: &str = "vdi";
const DYNAMIC: u32 = 1;
const STATIC: u32 = 2;

pub fn is(head: &[u8]) -> bool {
    is_at(head, 0x40, &0xbeda_107f_u32.to_le_bytes())
}

/// The virtual size.
pub fn inspect(head: &[u8], length: u64) -> Result<u64, Refused> {
    let broken = |what| Refused::Broken(NAME, what);
    let short = || broken("it is shorter than a header");
    let kind = le32(head, 0x4c).ok_or_else(short)?;
    let size = le64(head, 0x170).ok_or_else(short)?;
    let (block, blocks) = (le32(head, 0x178).ok_or_else(short)?, le32(head, 0x180).ok_or_else(short)?);
    let map_at = le32(head, 0x154).ok_or_else(short)?;
    let parents = head.get(0x1a8..0x1c8).ok_or_else(short)?;
    if kind != DYNAMIC && kind != STATIC || parents.iter().any(|b| *b != 0) {
        return Err(Refused::External(NAME, "a parent disk"));
    }
    if block == 0 || u64::from(blocks).saturating_mul(u64::from(block)) < size {
        return Err(broken("its block map is too small for its size"));
    }
    if u64::from(map_at) + u64::from(blocks) * 4 > length {
        return Err(broken("its block map lies outside the file; the upload may be truncated"));
    }
    Ok(size)
}
