//! Network namespaces by name, as `ip netns` keeps them: a file under /run/netns with the namespace mounted on it. Invariant: no
//! thread of the caller ever changes its namespace; what must run inside one runs in a thread that ends with it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Tells a namespace from the one that came after it under the same name.
pub type Identity = (u64, u64);

/// The file system that namespaces are files of (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Runs something inside a namespace and waits for it. Sockets, netlink connections and child processes that it makes stay in
/// the namespace. Called from async code, what runs here must be short.
pub fn in_namespace<T: Send>(path: &Path, what: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    in_thread(move || {
        enter(&namespace)?;
        Ok(what())
    })
}

fn in_thread<T: Send>(what: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, what)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(unsafe_code)]
fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; only this thread changes its namespace.
    ok(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

fn ok(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Makes a namespace of this name.
#[allow(unsafe_code)]
pub fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    drop(File::options().write(true).create(true).truncate(false).open(path)?);
    let target = c_string(path)?;
    in_thread(move || {
        // SAFETY: only this thread, which ends below, gets another namespace.
        ok(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        let source = c"/proc/thread-self/ns/net";
        // SAFETY: both paths are strings that outlive the call; file system type and data may be null for a bind mount.
        ok(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) })
    })
}

/// Removes the name, and with it the namespace as soon as nothing runs in it any more.
#[allow(unsafe_code)]
pub fn remove(path: &Path) -> io::Result<()> {
    let target = c_string(path)?;
    while identity(path)?.is_some() {
        // SAFETY: the path is a string that outlives the call.
        ok(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })?;
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Which namespace has this name; none if there is no such.
#[allow(unsafe_code)]
pub fn identity(path: &Path) -> io::Result<Option<Identity>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // SAFETY: statfs is plain data for which zeros are a value.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the buffer is of the type that is asked for.
    ok(unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut about) })?;
    #[allow(clippy::unnecessary_cast)]
    if about.f_type as i64 != NSFS_MAGIC {
        return Ok(None); // only the file that it was mounted on is left
    }
    let meta = file.metadata()?;
    Ok(Some((meta.dev(), meta.ino())))
}
