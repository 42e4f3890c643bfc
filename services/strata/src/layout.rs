//! Where a cloud keeps what: one data directory, and the settings in it that were given when it was first started.
//! **Invariant: every secret lies in a file of mode 0600, and never in an argument list or an environment.**

use crate::process::User;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Set for every process of a cloud, so that what is left of one can be found by its data directory.
pub const DATA_VARIABLE: &str = "STRATA_PROCESS_OF";

/// The longest path of a Unix socket, the closing zero byte included.
pub const SOCKET_PATH_LIMIT: usize = 107;

/// What `strata up` was told when the cloud was first started; kept, so that a later `up` needs no arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub listen: IpAddr,
    pub port: u16,
    pub simulated: u32,
    /// This machine is a host of the cloud, with a hypervisor.
    #[serde(default)]
    pub hypervisor: bool,
    /// An existing libvirt, instead of a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// The loopback port of the private nats-server.
    pub nats_port: u16,
    /// Each service in a process of its own.
    #[serde(default)]
    pub separate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5000,
            simulated: 0,
            hypervisor: true,
            libvirt_uri: None,
            postgres_url: None,
            nats_url: None,
            tls_cert: None,
            tls_key: None,
            nats_port: 0,
            separate: false,
        }
    }
}

impl Settings {
    /// The address under which clients on this machine reach the APIs.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        let host = match self.listen {
            ip if ip.is_unspecified() => "127.0.0.1".to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("{scheme}://{host}:{}", self.port)
    }
}

/// A cloud's data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    pub data: PathBuf,
}

impl Layout {
    /// `data` made absolute; it need not exist.
    pub fn new(data: &Path) -> Result<Self> {
        let data = std::path::absolute(data).with_context(|| format!("the data directory {} is no path", data.display()))?;
        Ok(Self { data })
    }
    /// A cloud that was started here before.
    pub fn existing(data: &Path) -> Result<Self> {
        let layout = Self::new(data)?;
        if !layout.settings_file().exists() {
            bail!(
                "there is no Strata cloud in {}: start one with `strata up --data {0}`, or name another with --data",
                layout.data.display()
            );
        }
        Ok(layout)
    }
    pub fn settings_file(&self) -> PathBuf {
        self.data.join("strata.json")
    }
    pub fn run(&self) -> PathBuf {
        self.data.join("run")
    }
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.data.join("log").join(format!("{name}.log"))
    }
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }
    pub fn hosts(&self) -> PathBuf {
        self.data.join("hosts")
    }
    /// What this machine keeps as a host: identity, image cache, disks.
    pub fn host(&self) -> PathBuf {
        self.data.join("host")
    }
    pub fn postgres(&self) -> PathBuf {
        self.data.join("postgres")
    }
    pub fn nats(&self) -> PathBuf {
        self.data.join("nats")
    }
    pub fn clouds_yaml(&self) -> PathBuf {
        self.data.join("clouds.yaml")
    }
    pub fn openrc(&self, name: &str) -> PathBuf {
        self.data.join(format!("openrc-{name}"))
    }
    /// How `psql` and Grafana connect, as the role that reads the `read` schema and nothing else.
    pub fn read_url(&self) -> PathBuf {
        self.data.join("read-url")
    }
    /// FNV-1a of the data directory's path.
    fn hash(&self) -> u64 {
        let bytes = self.data.as_os_str().as_encoded_bytes().iter();
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }
    /// Tells what this cloud makes on the machine from what others make.
    pub fn tag(&self) -> String {
        format!("{:08x}", self.hash() >> 32)
    }
    /// Where PostgreSQL's socket lies: in the data directory, unless its path would be too long for a socket.
    pub fn socket_dir(&self) -> PathBuf {
        let near = self.data.join("run/pg");
        if near.join(".s.PGSQL.5432.lock").as_os_str().len() < SOCKET_PATH_LIMIT {
            return near;
        }
        // Where nobody else can have made it before us.
        let short = if User::am_root() { "/run" } else { "/tmp" };
        Path::new(short).join(format!("strata-{:016x}", self.hash()))
    }

    /// The same, made if it is not there.
    pub fn make_socket_dir(&self) -> Result<PathBuf> {
        let socket = self.socket_dir();
        if !socket.starts_with(&self.data) {
            own_dir(&socket, 0o755)?;
        }
        dir(&socket, 0o755)?;
        Ok(socket)
    }

    /// A directory on the way to the data through which other users don't pass.
    pub fn barrier(&self) -> Option<&Path> {
        let closed = |path: &&Path| fs::metadata(path).is_ok_and(|m| m.mode() & 0o001 == 0);
        self.data.ancestors().skip(1).find(closed)
    }

    /// Makes the directories that every cloud has.
    pub fn create(&self) -> Result<()> {
        // Other users (PostgreSQL's) pass through, but list and read nothing.
        dir(&self.data, 0o711)?;
        dir(&self.run(), 0o711)?;
        dir(&self.data.join("run/pids"), 0o700)?;
        for private in [self.data.join("log"), self.secrets(), self.images(), self.hosts(), self.host()] {
            dir(&private, 0o700)?;
        }
        Ok(())
    }
    pub fn settings(&self) -> Result<Settings> {
        let file = self.settings_file();
        let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
    }
    pub fn keep_settings(&self, settings: &Settings) -> Result<()> {
        write_private(&self.settings_file(), serde_json::to_string_pretty(settings)?.as_bytes())
    }
    /// The secret of this name, made at the first asking.
    pub fn secret(&self, name: &str) -> Result<String> {
        let file = self.secrets().join(name);
        match fs::read_to_string(&file) {
            Ok(text) if !text.is_empty() => Ok(text),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).with_context(|| format!("can't read {}", file.display())),
            _ => {
                let mut bytes = [0; 18];
                getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the kernel gives no random bytes: {e}"))?;
                let text = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
                write_private(&file, text.as_bytes())?;
                Ok(text)
            }
        }
    }
}

/// Makes a directory in a place that others may write to: one of another's making is refused, be it only a link.
pub fn own_dir(path: &Path, mode: u32) -> Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let (found, me) = (path.symlink_metadata()?, fs::metadata("/proc/self")?);
            // PostgreSQL's user, to whom we hand it over, is the only other.
            let theirs = me.uid() == 0 && User::named("postgres").is_ok_and(|u| u.uid == found.uid());
            if !found.is_dir() || (found.uid() != me.uid() && !theirs) {
                bail!("{} is not ours: remove it, or choose a shorter path with --data, which needs no directory there", path.display());
            }
            Ok(())
        }
        made => made.with_context(|| format!("can't create {}", path.display())),
    }
}

/// Makes a directory of this mode, and sets the mode of one that is there.
pub fn dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).with_context(|| format!("can't create {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("can't set the mode of {}", path.display()))
}

/// Writes a file that only its owner can read, all or nothing.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_deep_data_directory_lies_elsewhere() {
        let near = Layout { data: "/var/lib/strata".into() };
        assert_eq!(near.socket_dir(), Path::new("/var/lib/strata/run/pg"));
        let deep = Layout { data: format!("/{}", "deep/".repeat(30)).into() };
        let other = Layout { data: format!("/{}", "deep/".repeat(31)).into() };
        assert!(deep.socket_dir().as_os_str().len() < 60, "{:?}", deep.socket_dir());
        assert_ne!(deep.socket_dir(), other.socket_dir());
    }

    #[test]
    fn a_directory_that_another_made_in_our_place_is_refused() {
        if !User::am_root() {
            return eprintln!("needs root to make what is another's: not run");
        }
        let at = std::env::temp_dir().join(format!("strata-own-{}", std::process::id()));
        own_dir(&at, 0o755).expect("made");
        own_dir(&at, 0o755).expect("ours");
        std::os::unix::fs::chown(&at, Some(65534), None).expect("root may");
        let refused = own_dir(&at, 0o755).expect_err("it is nobody's");
        assert!(refused.to_string().contains("is not ours"), "{refused:#}");
        fs::remove_dir(&at).expect("it was made above");
        std::os::unix::fs::symlink("/", &at).expect("a link");
        own_dir(&at, 0o755).expect_err("a link to what is ours");
        fs::remove_file(&at).expect("it was made above");
    }

    #[test]
    fn a_closed_directory_on_the_way_is_found() {
        let at = std::env::temp_dir().join(format!("strata-barrier-{}", std::process::id()));
        let layout = Layout::new(&at.join("closed/data")).expect("a path");
        dir(&at.join("closed"), 0o755).expect("made");
        assert_eq!(layout.barrier(), None);
        dir(&at.join("closed"), 0o700).expect("made");
        assert_eq!(layout.barrier(), Some(at.join("closed").as_path()));
        fs::remove_dir_all(&at).expect("it was made above");
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let data = std::env::temp_dir().join(format!("strata-layout-{}", std::process::id()));
        let layout = Layout::new(&data).expect("a path");
        layout.create().expect("a directory");
        let first = layout.secret("admin-password").expect("a secret");
        assert!(first.len() >= 24);
        assert_eq!(layout.secret("admin-password").expect("the same secret"), first);
        let mode = fs::metadata(layout.secrets().join("admin-password")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(&data).expect("it was made above");
    }
}
