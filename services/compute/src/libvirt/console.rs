//! Console logs: QEMU appends to them for as long as the guest runs, we keep them short under it and read their ends.
//! **Invariant: a log on disk stays near [`LARGE`], however much a guest writes.**

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

/// What an answer holds at most, in bytes: Nova's limit.
pub const SHOWN: u64 = 100 * 1024;
/// A log is shortened when it is longer, in bytes.
const LARGE: u64 = 2 << 20;
/// What is kept of it then.
const KEPT: u64 = 512 << 10;

/// The end of a log, at most so many lines; nothing if there is none yet.
pub fn tail(log: &Path, lines: Option<usize>) -> Result<String> {
    let mut file = match File::open(log) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
    let mut bytes = vec![];
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(most) = lines else { return Ok(text.into_owned()) };
    let mut last = VecDeque::new();
    for line in text.split_inclusive('\n').rev().take(most) {
        last.push_front(line);
    }
    Ok(Vec::from(last).concat())
}

/// Shortens a log that has grown too long, while QEMU has it open. Says whether it did.
pub fn shorten(log: &Path) -> Result<bool> {
    shorten_to(log, LARGE, KEPT)
}

/// Leaves the last `kept` bytes of a file that has more than `large`, while another process appends to it.
pub fn shorten_to(log: &Path, large: u64, kept: u64) -> Result<bool> {
    match log.symlink_metadata() {
        Ok(now) if now.is_file() && now.len() > large => {}
        _ => return Ok(false),
    }
    let mut file = OpenOptions::new().read(true).write(true).open(log)?;
    let length = file.metadata()?.len();
    if cut_off_head(&file, length.saturating_sub(kept)).is_err() {
        // A file system that can't: the end is copied, and what is written meanwhile is lost.
        file.seek(SeekFrom::Start(length.saturating_sub(kept)))?;
        let mut end = vec![];
        (&file).take(kept).read_to_end(&mut end)?;
        file.set_len(0)?;
        std::io::Write::write_all(&mut OpenOptions::new().append(true).open(log)?, &end)?;
    }
    Ok(true)
}

/// Takes whole blocks off a file's beginning. What is appended at the same time is not touched.
#[allow(unsafe_code)]
fn cut_off_head(file: &File, bytes: u64) -> Result<()> {
    let block = 64 * 1024; // a multiple of every usual block size
    let whole = i64::try_from(bytes / block * block).map_err(|_| ErrorKind::InvalidInput)?;
    // SAFETY: a plain system call on an open descriptor.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_COLLAPSE_RANGE, 0, whole) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_shortened_under_its_writer_and_its_end_is_read() {
        let log = std::env::temp_dir().join(format!("strata-console-{}", std::process::id()));
        assert_eq!(tail(&log, None).expect("none yet"), "");
        // As QEMU holds it.
        let mut writer = OpenOptions::new().create(true).append(true).open(&log).expect("open");
        for n in 0..300_000 {
            writeln!(writer, "line {n}").expect("write");
        }
        assert_eq!(tail(&log, Some(2)).expect("read"), "line 299998\nline 299999\n");
        assert!(shorten(&log).expect("shorten"));
        writeln!(writer, "and on").expect("write");
        let length = std::fs::metadata(&log).expect("there").len();
        assert!(length < KEPT + 128 * 1024, "{length}");
        assert_eq!(tail(&log, Some(2)).expect("read"), "line 299999\nand on\n");
        assert!(tail(&log, None).expect("read").len() as u64 <= SHOWN);
        assert!(!shorten(&log).expect("short enough"));
        std::fs::remove_file(&log).expect("it was made above");
    }
}
