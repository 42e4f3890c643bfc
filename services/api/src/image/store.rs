//! Where image data lies: one file per content, named by its SHA-512, and uploads in a room of their own until they are whole.
//!
//! **Invariants.** A file under `data/` is complete and durable before any event names it. A file that no live image names is
//! removed, and never one that an image is just being given: whoever commits data holds the store's lock shared, whoever
//! removes holds it alone. A file under `incoming/` is locked by the process that writes it; one that is not is rubbish.

use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha512};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strata_conductor::decide::image::Arrived;
use strata_events::UploadId;
use strata_image_format::{Found, Inspector, Refused};

/// A directory with image data. Several processes may share it.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Why an upload did not become data.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("the data is larger than the limit of {0} bytes")]
    TooLarge(u64),
    #[error("the data ended after {got} bytes, {announced} were announced")]
    Short { got: u64, announced: u64 },
    #[error("the storage for images is full")]
    Full,
    #[error("the image store failed: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Trouble::Full,
            _ => Trouble::Io(e),
        }
    }
}

impl Store {
    /// Makes the directories that are missing, for this user only.
    pub fn open(root: &Path) -> io::Result<Self> {
        for dir in [root.to_owned(), root.join("data"), root.join("incoming")] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let store = Self { root: root.to_owned() };
        store.lock_file()?;
        Ok(store)
    }

    /// Where these bytes lie, if they are here. The name is checked: it comes from the log, but it becomes a path.
    pub fn path(&self, sha512: &str) -> Option<PathBuf> {
        let fine = sha512.len() == 128 && sha512.bytes().all(|b| b.is_ascii_hexdigit());
        fine.then(|| self.root.join("data").join(sha512))
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.root.join("lock"))
    }

    /// Room for an upload. `limit` bounds it, in bytes.
    pub fn begin(&self, upload: UploadId, limit: u64) -> Result<Incoming, Trouble> {
        let path = self.root.join("incoming").join(upload.to_string());
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(Incoming { store: self.clone(), file, path, md5: Md5::new(), sha512: Sha512::new(), inspector: Inspector::new(), limit })
    }

    /// Uploads whose writer is gone: removed, and named.
    pub fn sweep_incoming(&self) -> io::Result<Vec<String>> {
        let mut gone = vec![];
        for entry in fs::read_dir(self.root.join("incoming"))? {
            let path = entry?.path();
            match File::open(&path).map(|file| file.try_lock()) {
                Ok(Ok(())) => {
                    fs::remove_file(&path)?;
                    gone.extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
                }
                // Somebody writes it.
                Ok(Err(TryLockError::WouldBlock)) => {}
                Ok(Err(TryLockError::Error(e))) => return Err(e),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(gone)
    }
    /// Whether an upload is being written, here or by another process.
    pub fn is_coming(&self, upload: &UploadId) -> bool {
        self.root.join("incoming").join(upload.to_string()).exists()
    }

    /// The right to remove data, if nobody is just committing some.
    pub fn alone(&self) -> io::Result<Option<Alone>> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Alone { store: self.clone(), _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// While it lives, nobody commits data.
pub struct Alone {
    store: Store,
    _lock: File,
}

impl Alone {
    /// Removes the data that is not in use; tells how much there was.
    pub fn remove_unused(&self, used: impl Fn(&str) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(self.store.root.join("data"))? {
            let entry = entry?;
            if !used(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// An upload on its way. Dropped before it is kept, it leaves nothing.
pub struct Incoming {
    store: Store,
    file: File,
    path: PathBuf,
    md5: Md5,
    sha512: Sha512,
    inspector: Inspector,
    limit: u64,
}

impl Incoming {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        if self.inspector.length().saturating_add(bytes.len() as u64) > self.limit {
            return Err(Trouble::TooLarge(self.limit));
        }
        self.file.write_all(bytes)?;
        self.md5.update(bytes);
        self.sha512.update(bytes);
        self.inspector.eat(bytes);
        Ok(())
    }

    /// All bytes came: makes them durable and tells what they are.
    pub fn finish(mut self, announced: Option<u64>) -> Result<Whole, Trouble> {
        let got = self.inspector.length();
        if let Some(announced) = announced.filter(|a| *a != got) {
            return Err(Trouble::Short { got, announced });
        }
        self.file.sync_all()?;
        let found = std::mem::take(&mut self.inspector).finish();
        let arrived = Arrived {
            size: got,
            virtual_size: found.as_ref().ok().map(|f| f.virtual_size),
            checksum: hex(&std::mem::take(&mut self.md5).finalize()),
            sha512: hex(&std::mem::take(&mut self.sha512).finalize()),
        };
        Ok(Whole { incoming: self, arrived, found })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Gone already if it was kept. If it can't be removed now, the sweep does it.
        let _ = fs::remove_file(&self.path);
    }
}

/// An upload that is complete on disk but not yet data.
pub struct Whole {
    incoming: Incoming,
    pub arrived: Arrived,
    pub found: Result<Found, Refused>,
}

impl Whole {
    /// Gives it its name. Hold what comes back until the event that names it is committed.
    pub fn keep(self) -> Result<Kept, Trouble> {
        let store = &self.incoming.store;
        let lock = store.lock_file()?;
        lock.lock_shared()?;
        let to = store.path(&self.arrived.sha512).unwrap_or_else(|| unreachable!("a SHA-512 was just computed"));
        fs::rename(&self.incoming.path, to)?;
        File::open(store.root.join("data"))?.sync_all()?;
        Ok(Kept { _lock: lock })
    }
}

/// Data that is durable under its name, and safe from removal while this lives.
pub struct Kept {
    _lock: File,
}

/// Reads a part of a file, in pieces.
pub struct Piecewise {
    file: File,
    left: u64,
}

/// Bytes read at once.
const PIECE: u64 = 256 * 1024;

impl Piecewise {
    pub fn open(path: &Path, from: u64, length: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Self { file, left: length })
    }
    /// The next piece; empty at the end.
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; self.left.min(PIECE) as usize];
        self.file.read_exact(&mut piece)?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    struct Dir(PathBuf);
    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("strata-image-store-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Dir(dir)
        }
        fn files(&self, room: &str) -> usize {
            fs::read_dir(self.0.join(room)).unwrap().count()
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    const UPLOAD: UploadId = UploadId(Uuid::from_u128(7));

    #[test]
    fn data_is_kept_under_its_checksum_and_read_back_in_parts() {
        let dir = Dir::new("keep");
        let store = Store::open(&dir.0).unwrap();
        let mut incoming = store.begin(UPLOAD, 100).unwrap();
        incoming.write(b"hello ").unwrap();
        incoming.write(b"world").unwrap();
        let whole = incoming.finish(Some(11)).unwrap();
        let arrived = whole.arrived.clone();
        let _kept = whole.keep().unwrap();
        assert_eq!((arrived.checksum.as_str(), arrived.size), ("5eb63bbbe01eeed093cb22bb8f5acdc3", 11));
        assert_eq!((dir.files("incoming"), dir.files("data")), (0, 1));
        let path = store.path(&arrived.sha512).unwrap();
        assert_eq!(Piecewise::open(&path, 6, 5).unwrap().next().unwrap(), b"world");
    }

    #[test]
    fn what_is_too_large_or_too_short_or_dropped_leaves_nothing() {
        let dir = Dir::new("refuse");
        let store = Store::open(&dir.0).unwrap();
        let mut incoming = store.begin(UPLOAD, 4).unwrap();
        assert!(matches!(incoming.write(b"12345"), Err(Trouble::TooLarge(4))));
        drop(incoming);
        let mut incoming = store.begin(UPLOAD, 4).unwrap();
        incoming.write(b"123").unwrap();
        assert!(matches!(incoming.finish(Some(4)), Err(Trouble::Short { got: 3, announced: 4 })));
        let mut incoming = store.begin(UPLOAD, 4).unwrap();
        incoming.write(b"1").unwrap();
        drop(incoming);
        assert_eq!((dir.files("incoming"), dir.files("data")), (0, 0));
    }

    #[test]
    fn the_sweep_takes_what_nobody_writes_and_leaves_what_somebody_does() {
        let dir = Dir::new("sweep");
        let store = Store::open(&dir.0).unwrap();
        let mine = store.begin(UPLOAD, 4).unwrap();
        fs::write(dir.0.join("incoming/left-by-a-crash"), b"x").unwrap();
        assert_eq!(store.sweep_incoming().unwrap(), ["left-by-a-crash"]);
        assert!(store.is_coming(&UPLOAD));
        drop(mine);
    }

    #[test]
    fn data_is_not_removed_while_some_is_being_committed() {
        let dir = Dir::new("alone");
        let store = Store::open(&dir.0).unwrap();
        let whole = store.begin(UPLOAD, 4).unwrap().finish(None).unwrap();
        let sha512 = whole.arrived.sha512.clone();
        let kept = whole.keep().unwrap();
        assert!(store.alone().unwrap().is_none());
        drop(kept);
        let alone = store.alone().unwrap().unwrap();
        assert_eq!(alone.remove_unused(|name| name == sha512).unwrap(), 0);
        assert_eq!(alone.remove_unused(|_| false).unwrap(), 1);
    }

    #[test]
    fn only_a_checksum_becomes_a_path() {
        let dir = Dir::new("path");
        let store = Store::open(&dir.0).unwrap();
        for bad in ["", "..", "../../etc/passwd", &"g".repeat(128), &format!("{}/", "a".repeat(127))] {
            assert_eq!(store.path(bad), None, "{bad}");
        }
    }
}
