//! VHD (Virtual PC): fixed and dynamic. A differencing disk has a parent and is refused.
//! Source: Microsoft's Virtual Hard Disk Image Format Specification 1.0.

use crate::Refused;
use crate::header::{be32, be64, is_at};

const NAME: &str = "vhd";
const COOKIE: &[u8] = b"conectix";
const FOOTER: usize = 512;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

fn footer(tail: &[u8]) -> &[u8] {
    &tail[tail.len().saturating_sub(FOOTER)..]
}

/// A dynamic disk begins and ends with its footer, a fixed one only ends with it.
pub fn is(head: &[u8], tail: &[u8]) -> bool {
    is_at(head, 0, COOKIE) || (footer(tail).len() == FOOTER && is_at(footer(tail), 0, COOKIE))
}

/// The virtual size.
pub fn inspect(head: &[u8], tail: &[u8], length: u64) -> Result<u64, Refused> {
    let broken = |what| Refused::Broken(NAME, what);
    let end = footer(tail);
    if end.len() < FOOTER || !is_at(end, 0, COOKIE) {
        return Err(broken("its footer is missing; the upload may be truncated"));
    }
    let size = be64(end, 48).ok_or_else(|| broken("it is shorter than a footer"))?;
    match be32(end, 60) {
        Some(FIXED) if is_at(head, 0, COOKIE) && length > FOOTER as u64 => Err(broken("a fixed disk has no header")),
        Some(FIXED) if size.checked_add(FOOTER as u64) != Some(length) => Err(broken("its size is not that of the file")),
        Some(FIXED) => Ok(size),
        Some(DYNAMIC) => {
            let same = head.get(..FOOTER).is_some_and(|h| h == end);
            if !same {
                return Err(broken("its header and footer differ"));
            }
            let at = be64(head, 16).and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
            let table = head.get(at..).filter(|h| is_at(h, 0, b"cxsparse"));
            let table = table.ok_or_else(|| broken("its block table's header is missing"))?;
            // The parent's id and its eight locators.
            let parent = table.get(40..56).unwrap_or_default().iter().chain(table.get(576..768).unwrap_or_default());
            if table.len() < 1024 || parent.copied().any(|b| b != 0) {
                return Err(Refused::External(NAME, "a parent disk"));
            }
            let (entries, block) = (be32(table, 28).unwrap_or(0), be32(table, 32).unwrap_or(0));
            if block == 0 || !block.is_power_of_two() || u64::from(entries) < size.div_ceil(u64::from(block)) {
                return Err(broken("its block table is too small for its size"));
            }
            let table_at = be64(table, 16).unwrap_or(u64::MAX);
            if table_at.checked_add(u64::from(entries) * 4).is_none_or(|end| end > length) {
                return Err(broken("its block table lies outside the file; the upload may be truncated"));
            }
            Ok(size)
        }
        Some(DIFFERENCING) => Err(Refused::External(NAME, "a parent disk")),
        _ => Err(Refused::Feature(NAME, "a disk type other than fixed and dynamic")),
    }
}
