//! What an image file is, found from its bytes as they stream by, before any tool opens it.
//!
//! A disk image's header can name other files (a backing file, a data file, an extent), and a tool that opens the image
//! follows the name on the host. So every image is read here first, and one that refers to anything outside itself, is
//! two formats at once, or has tables that no honest image has, is refused with a sentence that says why.
//!
//! **Invariants: pure (no I/O); never panics whatever the bytes; keeps at most [`MAX_KEPT`] of them in memory.**

#[cfg(feature = "corpus")]
pub mod corpus;
mod header;
mod qcow2;
mod sniff;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;

/// How much of an image is kept in memory while it is inspected, at most: its head, its tail and one table.
pub const MAX_KEPT: usize = HEAD + TAIL + vhdx::METADATA_KEPT;
/// The head: up to the end of VHDX's second region table, the farthest header there is at a fixed place.
const HEAD: usize = 320 * 1024;
/// The tail: VMDK's footer of three sectors; VHD's footer is the last of them.
const TAIL: usize = 3 * 512;

/// A format that Strata stores, by the name that the image API has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Raw,
    Qcow2,
    Vmdk,
    Vhd,
    Vhdx,
    Vdi,
    Iso,
}
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
            Format::Vdi => "vdi",
            Format::Iso => "iso",
        })
    }
}

/// Why an image is not taken. The sentence is for the person who uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the image is {0}, which is not accepted; convert it to qcow2 or raw first")]
    Unsupported(&'static str),
    #[error("the data is both a {0} and a {1} image; upload one or the other")]
    Ambiguous(&'static str, &'static str),
    #[error("the {0} image refers to data outside itself ({1}); flatten it first, for example with 'qemu-img convert'")]
    External(&'static str, &'static str),
    #[error("the {0} image is encrypted, which is not accepted; decrypt it first")]
    Encrypted(&'static str),
    #[error("the {0} header is broken: {1}")]
    Broken(&'static str, &'static str),
    #[error("the {0} image uses a feature that is not accepted: {1}")]
    Feature(&'static str, &'static str),
    #[error("the virtual size of {0} bytes is above the limit of {MAX_VIRTUAL_SIZE}")]
    TooLarge(u64),
    #[error("the image is declared as {declared} but its data is {found}; declare disk_format={found} or convert the data")]
    Mismatch { declared: String, found: Format },
    #[error("disk_format {0:?} is not accepted for data; use one of raw, qcow2, vmdk, vhd, vhdx, vdi, iso, ami, ari, aki")]
    Unknown(String),
}

/// 64 TiB: a larger disk can't be had here, and a larger number in a header is a mistake or a trick.
pub const MAX_VIRTUAL_SIZE: u64 = 64 << 40;

/// What an image turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub format: Format,
    /// bytes that a guest would see
    pub virtual_size: u64,
}

impl Found {
    /// Whether data that was found to be this may be stored as what its owner declared.
    pub fn is_declared(&self, disk_format: &str) -> Result<(), Refused> {
        let wanted = match disk_format {
            // A kernel, a ramdisk and a file system: no structure that anybody opens as a disk image.
            "raw" | "ami" | "ari" | "aki" => Format::Raw,
            "qcow2" => Format::Qcow2,
            "vmdk" => Format::Vmdk,
            "vhd" => Format::Vhd,
            "vhdx" => Format::Vhdx,
            "vdi" => Format::Vdi,
            "iso" => Format::Iso,
            other => return Err(Refused::Unknown(other.into())),
        };
        if wanted == self.format { Ok(()) } else { Err(Refused::Mismatch { declared: disk_format.into(), found: self.format }) }
    }
}

/// Looks at an image while its bytes go by. Feed it everything, in order, then ask.
#[derive(Debug, Default)]
pub struct Inspector {
    head: Vec<u8>,
    tail: Vec<u8>,
    metadata: vhdx::Metadata,
    length: u64,
}

impl Inspector {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn eat(&mut self, chunk: &[u8]) {
        let room = HEAD - self.head.len();
        let headward = chunk.len().min(room);
        self.head.extend_from_slice(&chunk[..headward]);
        self.metadata.eat(&self.head, self.length, chunk);
        if chunk.len() >= TAIL {
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - TAIL..]);
        } else {
            let surplus = (self.tail.len() + chunk.len()).saturating_sub(TAIL);
            self.tail.drain(..surplus);
            self.tail.extend_from_slice(chunk);
        }
        self.length = self.length.saturating_add(chunk.len() as u64);
    }

    /// How many bytes went by.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the head alone shows that this will be refused, so that a long upload can be stopped at once.
    pub fn hopeless(&self) -> Option<Refused> {
        if self.head.len() < HEAD {
            return None;
        }
        match sniff::unsupported(&self.head) {
            Some(name) => Some(Refused::Unsupported(name)),
            None if qcow2::is(&self.head) => qcow2::header(&self.head).err(),
            None => None,
        }
    }

    /// What it was, once all bytes went by.
    pub fn finish(self) -> Result<Found, Refused> {
        let (head, tail, length) = (self.head.as_slice(), self.tail.as_slice(), self.length);
        if let Some(name) = sniff::unsupported(head).or_else(|| sniff::unsupported_tail(tail)) {
            return Err(Refused::Unsupported(name));
        }
        let looks = [
            (qcow2::is(head), Format::Qcow2, "qcow2"),
            (vmdk::is(head), Format::Vmdk, "vmdk"),
            (vhdx::is(head), Format::Vhdx, "vhdx"),
            (vdi::is(head), Format::Vdi, "vdi"),
            (vhd::is(head, tail), Format::Vhd, "vhd"),
            (sniff::is_iso(head), Format::Iso, "iso"),
        ];
        let mut alike = looks.iter().filter(|(is, ..)| *is);
        let (first, second) = (alike.next(), alike.next());
        if let (Some((_, _, a)), Some((_, _, b))) = (first, second) {
            return Err(Refused::Ambiguous(a, b));
        }
        let format = first.map_or(Format::Raw, |(_, format, _)| *format);
        let virtual_size = match format {
            Format::Raw | Format::Iso => length,
            Format::Qcow2 => qcow2::inspect(head, length)?,
            Format::Vmdk => vmdk::inspect(head, tail, length)?,
            Format::Vhd => vhd::inspect(head, tail, length)?,
            Format::Vhdx => vhdx::inspect(head, &self.metadata)?,
            Format::Vdi => vdi::inspect(head, length)?,
        };
        if virtual_size > MAX_VIRTUAL_SIZE {
            return Err(Refused::TooLarge(virtual_size));
        }
        Ok(Found { format, virtual_size })
    }
}

/// The same for bytes that are all at hand.
pub fn inspect(bytes: &[u8]) -> Result<Found, Refused> {
    let mut inspector = Inspector::new();
    inspector.eat(bytes);
    inspector.finish()
}
