//! VHDX: fixed and dynamic, closed cleanly. A parent is refused, and so is a log that waits to be replayed: replaying it
//! would write a header that nobody has looked at.
//! Source: [MS-VHDX].

use crate::Refused;
use crate::header::{is_at, le16, le32, le64};

const NAME: &str = "vhdx";
const KIB: usize = 1024;
const HEADERS: [usize; 2] = [64 * KIB, 128 * KIB];
const REGIONS: [usize; 2] = [192 * KIB, 256 * KIB];
const MAX_REGIONS: u32 = 2047;
const MAX_ITEMS: u16 = 2047;
/// How much of the metadata region is kept: its table (64 KiB) and the items right behind it, which is where writers put them.
pub const METADATA_KEPT: usize = 128 * KIB;

const METADATA_REGION: [u8; 16] = guid(0x8B7C_A206, 0x4790, 0x4B9A, [0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E]);
const BAT_REGION: [u8; 16] = guid(0x2DC2_7766, 0xF623, 0x4200, [0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08]);
const FILE_PARAMETERS: [u8; 16] = guid(0xCAA1_6737, 0xFA36, 0x4D43, [0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B]);
const DISK_SIZE: [u8; 16] = guid(0x2FA5_4224, 0xCD1B, 0x4876, [0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8]);
const PARENT_LOCATOR: [u8; 16] = guid(0xA8D3_5F2D, 0xB30B, 0x454D, [0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C]);

const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

pub fn is(head: &[u8]) -> bool {
    is_at(head, 0, b"vhdxfile")
}

fn broken(what: &'static str) -> Refused {
    Refused::Broken(NAME, what)
}

/// The part of the metadata region that went by. Its place is told by the region table, which comes before it.
#[derive(Debug, Default)]
pub struct Metadata {
    /// Looked for, and found there or not.
    at: Option<Option<u64>>,
    kept: Vec<u8>,
}

impl Metadata {
    /// `chunk` lies at `position` of the file; `head` holds the file's head, this chunk's part included.
    pub fn eat(&mut self, head: &[u8], position: u64, chunk: &[u8]) {
        if self.at.is_none() && head.len() >= crate::HEAD {
            self.at = Some(if is(head) { region(head).ok() } else { None });
        }
        let Some(Some(at)) = self.at else { return };
        let end = at.saturating_add(METADATA_KEPT as u64).min(position.saturating_add(chunk.len() as u64));
        let begin = at.saturating_add(self.kept.len() as u64);
        if begin >= position && begin < end {
            self.kept.extend_from_slice(&chunk[(begin - position) as usize..(end - position) as usize]);
        }
    }
}

/// Where the metadata region begins, by both copies of the region table.
fn region(head: &[u8]) -> Result<u64, Refused> {
    let mut places = REGIONS.iter().map(|table| region_in(head, *table));
    let (first, second) = (places.next().unwrap_or_else(|| Err(broken("")))?, places.next().unwrap_or_else(|| Err(broken("")))?);
    if first == second { Ok(first) } else { Err(broken("its two region tables differ")) }
}

fn region_in(head: &[u8], table: usize) -> Result<u64, Refused> {
    let count = le32(head, table + 8).filter(|n| is_at(head, table, b"regi") && *n <= MAX_REGIONS);
    let count = count.ok_or_else(|| broken("its region table is missing or impossible"))?;
    let mut found = None;
    for entry in (0..count as usize).map(|i| table + 16 + i * 32) {
        let (Some(at), Some(required)) = (le64(head, entry + 16), le32(head, entry + 28)) else {
            return Err(broken("its region table is cut off"));
        };
        if is_at(head, entry, &METADATA_REGION) {
            if found.replace(at).is_some() {
                return Err(broken("it has two metadata regions"));
            }
        } else if !is_at(head, entry, &BAT_REGION) && required & 1 != 0 {
            return Err(Refused::Feature(NAME, "a region that is not known"));
        }
    }
    found.filter(|at| *at >= 1 << 20).ok_or_else(|| broken("it has no metadata region"))
}

/// The virtual size.
pub fn inspect(head: &[u8], metadata: &Metadata) -> Result<u64, Refused> {
    for header in HEADERS {
        if is_at(head, header, b"head") && !is_at(head, header + 48, &[0; 16]) {
            return Err(broken("it was not closed cleanly; open and close it where it was made"));
        }
    }
    if !HEADERS.iter().any(|at| is_at(head, *at, b"head")) {
        return Err(broken("both headers are missing"));
    }
    region(head)?;
    let kept = &metadata.kept;
    let count = le16(kept, 10).filter(|n| is_at(kept, 0, b"metadata") && *n <= MAX_ITEMS);
    let count = count.ok_or_else(|| broken("its metadata is missing; the upload may be truncated"))?;
    let (mut size, mut parameters) = (None, None);
    for entry in (0..usize::from(count)).map(|i| 32 + i * 32) {
        let at = le32(kept, entry + 16).ok_or_else(|| broken("its metadata table is cut off"))? as usize;
        if is_at(kept, entry, &PARENT_LOCATOR) {
            return Err(Refused::External(NAME, "a parent disk"));
        }
        let slot = if is_at(kept, entry, &DISK_SIZE) {
            &mut size
        } else if is_at(kept, entry, &FILE_PARAMETERS) {
            &mut parameters
        } else {
            continue;
        };
        let value = le64(kept, at).ok_or_else(|| broken("its metadata lies farther off than any writer puts it"))?;
        if slot.replace(value).is_some() {
            return Err(broken("a piece of its metadata stands there twice"));
        }
    }
    let parameters = parameters.ok_or_else(|| broken("its file parameters are missing"))?;
    // The flags follow the block size: bit 1 is "has a parent".
    if parameters >> 32 & 2 != 0 {
        return Err(Refused::External(NAME, "a parent disk"));
    }
    size.ok_or_else(|| broken("its virtual size is missing"))
}
