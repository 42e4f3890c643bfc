//! The host's image cache: one file an image's bytes, named by their SHA-512, under every root disk that began as it.
//!
//! **Invariants: a file under its name was complete and had that checksum; nothing opens it before its header was found
//! harmless; it is never written again (who finds that it was, fetches it anew, and puts the new one in its place only when it
//! is whole: guests may rest on the old one still); one download at a time an image, however many servers wait for it.**

use super::home::write;
use crate::HypervisorError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::future::Future;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
    /// There is no such image any more.
    #[error("it was deleted")]
    Gone,
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
    /// Its bytes are not those of its name: another has to come in its stead, and until then it need not be read again.
    #[serde(default)]
    damaged: bool,
}

impl Record {
    fn of(file: &Path, qcow2: bool, virtual_size: u64, damaged: bool) -> std::io::Result<Self> {
        let now = fs::metadata(file)?;
        let modified = (now.mtime(), now.mtime_nsec());
        Ok(Self { qcow2, virtual_size, size: now.size(), inode: now.ino(), modified, damaged })
    }
    fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(record_of(file)).ok()?).ok()
    }
    fn keep(&self, file: &Path) -> std::io::Result<()> {
        write(&record_of(file), &serde_json::to_vec(self)?)
    }
    /// Whether it is of this file as it is now.
    fn holds(&self, now: &fs::Metadata) -> bool {
        (self.size, self.inode, self.modified) == (now.size(), now.ino(), (now.mtime(), now.mtime_nsec()))
    }
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
        let found = tokio::task::spawn_blocking(move || reread(&there, &sha512)).await;
        let found = found.map_err(|e| HypervisorError::Unavailable(e.to_string()))?.map_err(|e| trouble(file, &e))?;
        match found {
            Reread::Good => return Ok(()),
            Reread::Refused(why) => return Err(refused(image, &why)),
            Reread::Damaged | Reread::Absent => {}
        }
        // Damaged on its way may be sound the next time.
        match self.fetch(image, file).await {
            Err(Missed::Damaged(_)) => self.fetch(image, file).await,
            other => other,
        }
        .map_err(|missed| match missed {
            Missed::Damaged(why) => HypervisorError::Failed(why),
            Missed::Gone if matches!(found, Reread::Damaged) => HypervisorError::Failed(format!(
                "Image {} was deleted, and the copy of it on the host is damaged: servers whose disk rests on it can't start.",
                image.id
            )),
            Missed::Gone => HypervisorError::Failed(format!("Image {} was deleted before the host had a copy of it.", image.id)),
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
            Err(FetchError::Gone) => Err(Missed::Gone),
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
    let Some(record) = Record::read(file) else { return Ok(None) };
    if !record.holds(&now) {
        tracing::warn!(file = %file.display(), "an image in the cache was changed; it is checked again");
        return Ok(None);
    }
    if record.damaged {
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
    let used = record_of(file);
    if fs::metadata(&used).and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|e| e > Duration::from_secs(3600))) {
        let _ = File::options().write(true).open(&used).and_then(|f| f.set_modified(SystemTime::now()));
    }
    Ok(Some(Base { path: file.into(), format, virtual_size: record.virtual_size }))
}

fn unusable(image: &PlannedImage, format: &str) -> HypervisorError {
    HypervisorError::Failed(format!("Servers can't boot from image {}: its format is {format}; convert it to qcow2 or raw.", image.id))
}

/// Why an image was not fetched.
enum Missed {
    Damaged(String),
    Gone,
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
    let found = read.found.map_err(|why| refused(image, &why))?;
    found.is_declared(&image.disk_format).map_err(|why| refused(image, &why))?;
    if !matches!(image.disk_format.as_str(), "raw" | "qcow2") {
        return Err(unusable(image, &image.disk_format).into());
    }
    let keep = || {
        let whole = File::open(part)?;
        whole.set_permissions(fs::Permissions::from_mode(0o600))?;
        whole.sync_all()?;
        fs::rename(part, file)?;
        Record::of(file, found.format == Format::Qcow2, found.virtual_size, false)?.keep(file)
    };
    keep().map_err(|e: std::io::Error| trouble(file, &e).into())
}

/// What a file in the cache was found to be.
enum Reread {
    Good,
    Absent,
    Damaged,
    /// The right bytes, but nothing new shall begin with them. Guests that rest on them go on.
    Refused(strata_image_format::Refused),
}

/// Reads the file, unless it was damaged when it was last read, and records what it is.
fn reread(file: &Path, sha512: &str) -> std::io::Result<Reread> {
    let now = match fs::metadata(file) {
        Ok(now) => now,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Reread::Absent),
        Err(e) => return Err(e),
    };
    if Record::read(file).is_some_and(|r| r.damaged && r.holds(&now)) {
        return Ok(Reread::Damaged);
    }
    let read = read(file)?;
    if read.sha512 != sha512 {
        tracing::warn!(file = %file.display(), "an image in the cache is damaged; it is fetched again");
        Record::of(file, false, 0, true)?.keep(file)?;
        return Ok(Reread::Damaged);
    }
    Ok(match read.found {
        Ok(found) => {
            Record::of(file, found.format == Format::Qcow2, found.virtual_size, false)?.keep(file)?;
            Reread::Good
        }
        Err(why) => Reread::Refused(why),
    })
}

fn refused(image: &PlannedImage, why: &strata_image_format::Refused) -> HypervisorError {
    HypervisorError::Failed(format!("Image {} is refused: {why}.", image.id))
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

pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let now = file_system(path)?;
    Ok(now.f_bavail.saturating_mul(now.f_frsize))
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
