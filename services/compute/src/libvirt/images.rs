//! The host's image cache: one file an image's bytes, named by their SHA-512, under every root disk that began as it.
//!
//! **Invariants: a file under its name was complete and had that checksum; nothing opens it before its header was found
//! harmless; it is never written again (who finds that it was, fetches it anew); one download at a time an image, however
//! many servers wait for it.**

use super::home::write;
use crate::HypervisorError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::future::Future;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use strata_image_format::{Format, Inspector};
use strata_projections::plan::instance::PlannedImage;
use tokio::sync::OnceCell;

/// Left free on the disk when an image is fetched, in bytes.
const SPARE: u64 = 64 << 20;
/// Reading a large image takes a while: not more often than this for the same doubt.
const DOUBT_AGAIN: Duration = Duration::from_secs(300);

/// Why an image's bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Later they may.
    #[error("{0}")]
    Again(String),
    /// They never will; the sentence is for the user.
    #[error("{0}")]
    Never(String),
    /// The file can't be written: the disk is full, most likely.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// Where images come from.
pub trait ImageSource: Send + Sync + 'static {
    /// Writes the image's bytes into a new file, no more than it has. They are checked by whoever asked.
    fn fetch<'a>(&'a self, image: &'a PlannedImage, into: &'a Path) -> Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>>;
}

/// An image in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub path: PathBuf,
    /// As qemu-img calls it.
    pub format: &'static str,
    /// bytes
    pub virtual_size: u64,
}

/// What was found when the file was last read in full, and how to tell that it is the same still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    qcow2: bool,
    virtual_size: u64,
    size: u64,
    inode: u64,
    modified: (i64, i64),
}

type Outcome = Result<(), HypervisorError>;

/// See the module.
pub struct Images {
    directory: PathBuf,
    source: Arc<dyn ImageSource>,
    flights: Mutex<HashMap<String, Arc<OnceCell<Outcome>>>>,
    /// When an image was last read in full because it was doubted: what fails for another reason does so again and again.
    doubted: Mutex<HashMap<String, Instant>>,
}

impl Images {
    /// Removes what a crash left half fetched.
    pub fn open(directory: PathBuf, source: Arc<dyn ImageSource>) -> std::io::Result<Self> {
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "part" || e == "new") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { directory, source, flights: Mutex::default(), doubted: Mutex::default() })
    }

    /// The image, fetched if it is not here or not as it should be. `doubted`: something could not read it, so all of it
    /// is read again.
    pub async fn base(&self, image: &PlannedImage, doubted: bool) -> Result<Base, HypervisorError> {
        let file = self.file(image)?;
        let doubted = doubted && self.may_doubt(&image.sha512);
        if !doubted && let Some(base) = known(&file, image)? {
            return Ok(base);
        }
        let flight = self.flights.lock().unwrap_or_else(PoisonError::into_inner).entry(image.sha512.clone()).or_default().clone();
        let outcome = flight.get_or_init(|| self.make_good(image, &file)).await.clone();
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(&image.sha512).is_some_and(|f| Arc::ptr_eq(f, &flight)) {
            flights.remove(&image.sha512);
        }
        drop(flights);
        outcome?;
        known(&file, image)?.ok_or_else(|| HypervisorError::Unavailable(format!("image {} was changed while it was fetched", image.id)))
    }

    fn may_doubt(&self, sha512: &str) -> bool {
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        doubted.retain(|_, at| at.elapsed() < DOUBT_AGAIN);
        match doubted.contains_key(sha512) {
            true => false,
            false => doubted.insert(sha512.into(), Instant::now()).is_none(),
        }
    }

    fn file(&self, image: &PlannedImage) -> Result<PathBuf, HypervisorError> {
        // It becomes a file's name.
        if image.sha512.len() == 128 && image.sha512.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(self.directory.join(&image.sha512))
        } else {
            Err(HypervisorError::Failed(format!("Image {} has no usable checksum.", image.id)))
        }
    }

    /// Reads what is there, and fetches it if it is not what it should be.
    async fn make_good(&self, image: &PlannedImage, file: &Path) -> Outcome {
        let (there, sha512) = (file.to_path_buf(), image.sha512.clone());
        let good = tokio::task::spawn_blocking(move || reread(&there, &sha512)).await;
        match good {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(e)) => return Err(trouble(file, &e)),
            Err(e) => return Err(HypervisorError::Unavailable(e.to_string())),
        }
        // Damaged on its way may be sound the next time.
        match self.fetch(image, file).await {
            Err(Missed::Damaged(_)) => self.fetch(image, file).await,
            other => other,
        }
        .map_err(|missed| match missed {
            Missed::Damaged(why) => HypervisorError::Failed(why),
            Missed::Other(e) => e,
        })
    }

    async fn fetch(&self, image: &PlannedImage, file: &Path) -> Result<(), Missed> {
        let free = free_bytes(&self.directory).map_err(|e| trouble(&self.directory, &e))?;
        if free < image.size.saturating_add(SPARE) {
            return Err(full(&format!("image {} needs {} MiB, {} MiB are free", image.id, image.size >> 20, free >> 20)).into());
        }
        tracing::info!(image = %image.id, bytes = image.size, "fetches an image");
        let part = file.with_extension("part");
        let _ = fs::remove_file(&part);
        let outcome = match self.source.fetch(image, &part).await {
            Ok(()) => self.take_in(image, &part, file).await,
            Err(FetchError::Again(why)) => Err(HypervisorError::Unavailable(format!("image {}: {why}", image.id)).into()),
            Err(FetchError::Never(why)) => Err(HypervisorError::Failed(why).into()),
            Err(FetchError::File(e)) => Err(trouble(&part, &e).into()),
        };
        if outcome.is_err() {
            let _ = fs::remove_file(&part);
        }
        outcome
    }

    async fn take_in(&self, image: &PlannedImage, part: &Path, file: &Path) -> Result<(), Missed> {
        let (image, part, file) = (image.clone(), part.to_path_buf(), file.to_path_buf());
        let taken = tokio::task::spawn_blocking(move || {
            let read = read(&part).map_err(|e| trouble(&part, &e))?;
            judge(&image, &part, &file, read)
        });
        taken.await.map_err(|e| HypervisorError::Unavailable(e.to_string()))?
    }

    /// Removes images that no root disk rests on and that nobody asked for in this time. Says how many.
    pub fn prune(&self, used: &HashSet<String>, idle: Duration) -> usize {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| n.len() == 128) else { continue };
            let old = fs::metadata(record_of(&path)).and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|e| e > idle));
            let flying = self.flights.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name);
            if old && !flying && !used.contains(name) && fs::remove_file(&path).is_ok() {
                let _ = fs::remove_file(record_of(&path));
                removed += 1;
            }
        }
        removed
    }
}

fn record_of(file: &Path) -> PathBuf {
    file.with_extension("json")
}

/// The image, if it is here and as it was when it was read in full.
fn known(file: &Path, image: &PlannedImage) -> Result<Option<Base>, HypervisorError> {
    let Ok(now) = fs::metadata(file) else { return Ok(None) };
    let Some(record) = fs::read(record_of(file)).ok().and_then(|json| serde_json::from_slice::<Record>(&json).ok()) else {
        return Ok(None);
    };
    if (record.size, record.inode, record.modified) != (now.size(), now.ino(), (now.mtime(), now.mtime_nsec())) {
        tracing::warn!(file = %file.display(), "an image in the cache was changed; it is checked again");
        return Ok(None);
    }
    let format = match (image.disk_format.as_str(), record.qcow2) {
        ("raw", false) => "raw",
        ("qcow2", true) => "qcow2",
        (declared @ ("raw" | "qcow2"), _) => {
            return Err(HypervisorError::Failed(format!("Image {} is declared as {declared}, but its data is not.", image.id)));
        }
        (other, _) => return Err(unusable(image, other)),
    };
    // Who was used last is removed last; the hour keeps a busy host from writing at each start.
    let record = record_of(file);
    if fs::metadata(&record).and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|e| e > Duration::from_secs(3600))) {
        let _ = File::options().write(true).open(&record).and_then(|f| f.set_modified(SystemTime::now()));
    }
    Ok(Some(Base { path: file.into(), format, virtual_size: record_size(&record) }))
}

fn record_size(record: &Path) -> u64 {
    let read = fs::read(record).ok().and_then(|json| serde_json::from_slice::<Record>(&json).ok());
    read.map_or(0, |r| r.virtual_size)
}

fn unusable(image: &PlannedImage, format: &str) -> HypervisorError {
    HypervisorError::Failed(format!("Servers can't boot from image {}: its format is {format}; convert it to qcow2 or raw.", image.id))
}

/// Why an image was not fetched.
enum Missed {
    Damaged(String),
    Other(HypervisorError),
}
impl From<HypervisorError> for Missed {
    fn from(e: HypervisorError) -> Self {
        Missed::Other(e)
    }
}

/// What a file was found to be.
struct Read {
    size: u64,
    sha512: String,
    found: Result<strata_image_format::Found, strata_image_format::Refused>,
}

fn read(file: &Path) -> std::io::Result<Read> {
    let mut input = File::open(file)?;
    let (mut inspector, mut hash, mut chunk) = (Inspector::new(), Sha512::new(), vec![0; 256 << 10]);
    loop {
        let n = input.read(&mut chunk)?;
        if n == 0 {
            break;
        }
        inspector.eat(&chunk[..n]);
        hash.update(&chunk[..n]);
    }
    Ok(Read { size: inspector.length(), sha512: hex(&hash.finalize()), found: inspector.finish() })
}

/// Lets what arrived into the cache, if it is what was asked for and no trap.
fn judge(image: &PlannedImage, part: &Path, file: &Path, read: Read) -> Result<(), Missed> {
    if (read.size, read.sha512.as_str()) != (image.size, image.sha512.as_str()) {
        return Err(Missed::Damaged(format!(
            "Image {} arrived damaged on the host: {} bytes of {}, with another checksum.",
            image.id, read.size, image.size
        )));
    }
    let refused = |why| HypervisorError::Failed(format!("Image {} is refused: {why}.", image.id));
    let found = read.found.map_err(refused)?;
    found.is_declared(&image.disk_format).map_err(refused)?;
    if !matches!(image.disk_format.as_str(), "raw" | "qcow2") {
        return Err(unusable(image, &image.disk_format).into());
    }
    let keep = || {
        File::open(part)?.sync_all()?;
        fs::rename(part, file)?;
        keep_record(file, found.format == Format::Qcow2, found.virtual_size)
    };
    keep().map_err(|e: std::io::Error| trouble(file, &e).into())
}

fn keep_record(file: &Path, qcow2: bool, virtual_size: u64) -> std::io::Result<()> {
    let now = fs::metadata(file)?;
    let record = Record { qcow2, virtual_size, size: now.size(), inode: now.ino(), modified: (now.mtime(), now.mtime_nsec()) };
    write(&record_of(file), &serde_json::to_vec(&record)?)
}

/// Whether the file is there and its bytes are right, which is then recorded; else it is removed.
fn reread(file: &Path, sha512: &str) -> std::io::Result<bool> {
    let read = match read(file) {
        Ok(read) => read,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match read.found {
        Ok(found) if read.sha512 == sha512 => {
            keep_record(file, found.format == Format::Qcow2, found.virtual_size)?;
            Ok(true)
        }
        _ => {
            tracing::warn!(file = %file.display(), "an image in the cache is damaged; it is fetched again");
            let _ = fs::remove_file(record_of(file));
            fs::remove_file(file)?;
            Ok(false)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What a failed operation on the host's files means.
pub fn trouble(path: &Path, e: &std::io::Error) -> HypervisorError {
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(&path.display().to_string()),
        _ => HypervisorError::Unavailable(format!("{}: {e}", path.display())),
    }
}

/// The disk is full; `detail` says for what.
pub fn full(detail: &str) -> HypervisorError {
    HypervisorError::Failed(format!("The host's disk is full ({detail}). Try again later, or let the operator make room."))
}

/// What the file system under this path has left for us.
#[allow(unsafe_code)]
pub fn file_system(path: &Path) -> std::io::Result<libc::statvfs> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut now = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: both pointers are valid during the call; all-zero bytes are a valid statvfs.
    unsafe {
        if libc::statvfs(path.as_ptr(), now.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(now.assume_init())
    }
}

fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let now = file_system(path)?;
    Ok(now.f_bavail.saturating_mul(now.f_frsize))
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
