//! Real guests, through libvirt's QEMU driver.
//!
//! What an instance is here lies in its directory ([`home`]): the definition, what was applied, the disks. libvirt runs it, and
//! whatever it forgets is put back from there; only a domain that carries our metadata is ours ([`domain`]). `link` keeps
//! the connection, [`xml`] writes the definition, [`images`] is the cache of what root disks rest on.
//!
//! **Invariants: each call may be repeated and may be cut off between any two effects; looking changes nothing (a counter,
//! [`LibvirtHypervisor::changes`], lets a test prove it).**

mod acts;
mod console;
mod disks;
mod domain;
mod held;
mod home;
mod images;
mod kvm;
mod link;
mod tool;
mod upkeep;
mod wiring;
mod xml;

pub use console::shorten_to;
pub use images::{FetchError, ImageSource};
pub use kvm::VirtType;
pub use xml::{Accelerator, tap};

use crate::{HypervisorError, Lease};
use domain::Found;
use held::Held;
use home::Home;
use images::{Images, trouble};
use link::Link;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strata_events::instance::Power;
use strata_events::{HostName, InstanceId, SecretId};
use strata_projections::plan::instance::InstancePlan;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use virt::connect::Connect;

/// What libvirt answers at once.
const QUICK: Duration = Duration::from_secs(15);
/// How long a missing tap is waited for.
const REPLUG: Duration = Duration::from_secs(20);
/// A guest may not have listened the first time.
const PRESS_AGAIN: Duration = Duration::from_secs(10);

/// Where secrets of a plan are opened.
pub trait Secrets: Send + Sync + 'static {
    /// The secret in clear, or why it can't be had now.
    fn open<'a>(&'a self, id: &'a SecretId) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;
}

/// What a guest reads about itself.
pub trait Documents: Send + Sync + 'static {
    /// The files of the config drive by their paths (`openstack/latest/meta_data.json`).
    fn files(&self, plan: &InstancePlan, user_data: Option<&[u8]>) -> Vec<(String, Vec<u8>)>;
}
impl<F: Fn(&InstancePlan, Option<&[u8]>) -> Vec<(String, Vec<u8>)> + Send + Sync + 'static> Documents for F {
    fn files(&self, plan: &InstancePlan, user_data: Option<&[u8]>) -> Vec<(String, Vec<u8>)> {
        self(plan, user_data)
    }
}

/// How this host runs guests.
pub struct LibvirtConfig {
    /// `qemu+unix:///system?socket=…`
    pub uri: String,
    /// Under which `instances/` and `images/` lie.
    pub state_dir: PathBuf,
    pub host: HostName,
    /// The address under which other hosts reach this one.
    pub host_ip: String,
    pub virt_type: VirtType,
    /// How long a guest may take to shut down before it is ended: less than the 60 s that the conductor waits for a stop.
    pub shutdown_limit: Duration,
    /// libvirt is the machine's own, and lets QEMU run as another user: it hands the files over and needs to get at them.
    pub shared: bool,
    pub images: Arc<dyn ImageSource>,
    pub secrets: Arc<dyn Secrets>,
    pub documents: Arc<dyn Documents>,
}

impl LibvirtConfig {
    /// Of the directories on the way to a guest's files, which are their owner's alone.
    fn mode(&self) -> u32 {
        if self.shared { 0o711 } else { 0o700 }
    }
}

/// The shutdown limit that suits most guests.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);

/// See the module.
pub struct LibvirtHypervisor {
    link: Arc<Link>,
    images: Arc<Images>,
    instances: PathBuf,
    config: LibvirtConfig,
    accelerator: OnceCell<Accelerator>,
    held: Arc<Held>,
    /// Guests that were asked to shut down: when first, and when last.
    asked: Mutex<HashMap<InstanceId, (Instant, Instant)>>,
    /// Guests that could not start because a NIC of theirs was missing: since when.
    unplugged: Mutex<HashMap<InstanceId, Instant>>,
    changes: AtomicU64,
    /// For tests: after so many changes this worker is as good as dead.
    fuse: AtomicU64,
    upkeep: tokio::task::JoinHandle<()>,
}

impl Drop for LibvirtHypervisor {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl LibvirtHypervisor {
    /// libvirt need not be there yet. Within a tokio runtime only.
    pub fn open(config: LibvirtConfig) -> std::io::Result<Self> {
        let instances = config.state_dir.join("instances");
        let cache = config.state_dir.join("images");
        for ours in [&instances, &cache] {
            std::fs::create_dir_all(ours)?;
            std::fs::set_permissions(ours, std::os::unix::fs::PermissionsExt::from_mode(config.mode()))?;
        }
        let images = Arc::new(Images::open(cache, config.images.clone())?);
        let link = Arc::new(Link::open(&config.uri)?);
        let held = Arc::new(Held::new(link.clone(), config.host.clone(), instances.clone()));
        let logs = config.state_dir.join("libvirt/log/qemu");
        let upkeep = tokio::spawn(upkeep::run(instances.clone(), logs, images.clone(), held.clone()));
        Ok(Self {
            link,
            held,
            images,
            instances,
            config,
            accelerator: OnceCell::new(),
            asked: Mutex::default(),
            unplugged: Mutex::default(),
            changes: AtomicU64::new(0),
            fuse: AtomicU64::new(u64::MAX),
            upkeep,
        })
    }

    /// How often something was changed, at libvirt or in the files.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Waits until libvirt answers, so long at most.
    pub async fn connected(&self, limit: Duration) -> Result<(), HypervisorError> {
        let until = Instant::now() + limit;
        loop {
            match self.link.call(limit, |connect| connect.is_alive()).await {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() >= until => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Why libvirt can't be asked now; none while all is well.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// The end of a guest's console log.
    pub fn console(&self, id: &InstanceId, lines: Option<usize>) -> std::io::Result<String> {
        console::tail(&self.home(id).console_log(), lines)
    }

    fn home(&self, id: &InstanceId) -> Home {
        Home::of(&self.instances, id)
    }

    /// What the definition in our directory says, if it is this host's.
    fn kept(&self, id: &InstanceId) -> Result<Option<xml::Owner>, HypervisorError> {
        let home = self.home(id);
        let owner = home.owner().map_err(|e| trouble(home.path(), &e))?;
        Ok(owner.filter(|o| o.host == self.config.host.0))
    }

    /// Lets so many more changes happen; the next one fails as if the worker had died before it. For tests.
    pub fn die_after(&self, changes: u64) {
        self.fuse.store(self.changes() + changes, Ordering::Relaxed);
    }

    /// Said before each change: to libvirt or to the files of an instance.
    fn effect(&self) -> Result<(), HypervisorError> {
        let so_far = self.changes.fetch_add(1, Ordering::Relaxed);
        if so_far < self.fuse.load(Ordering::Relaxed) { Ok(()) } else { Err(HypervisorError::Unavailable("the worker died".into())) }
    }

    async fn accelerator(&self) -> Accelerator {
        *self.accelerator.get_or_init(|| kvm::choose(self.config.virt_type, &self.config.state_dir)).await
    }

    /// Runs `f` on our domain of this id: `f` gets none if libvirt has none.
    async fn on<T: Send + 'static>(
        &self,
        id: &InstanceId,
        limit: Duration,
        f: impl FnOnce(&Connect, Option<virt::domain::Domain>) -> Result<T, virt::error::Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.on_if(id, limit, None, f).await
    }

    /// The same, if there still is a lease when its turn has come.
    async fn on_if<T: Send + 'static>(
        &self,
        id: &InstanceId,
        limit: Duration,
        lease: Option<Lease<'_>>,
        f: impl FnOnce(&Connect, Option<virt::domain::Domain>) -> Result<T, virt::error::Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let (host, id) = (self.config.host.clone(), *id);
        let done = self.link.call_if(limit, lease, move |connect| {
            Ok(match domain::find(connect, &host, &id) {
                Ok(found) => Ok(f(connect, found.map(|(domain, _)| domain))?),
                Err(Found::Foreign) => Err(()),
                Err(Found::Libvirt(e)) => return Err(e),
            })
        });
        let foreign = |()| HypervisorError::Failed(format!("The host has a domain with the id {id} that is not Strata's."));
        done.await?.map_err(foreign)
    }

    /// Runs a change on our domain; without one it fails.
    async fn change(
        &self,
        id: &InstanceId,
        limit: Duration,
        f: impl FnOnce(&virt::domain::Domain) -> Result<(), virt::error::Error> + Send + 'static,
    ) -> Result<(), HypervisorError> {
        self.effect()?;
        let done = self.on(id, limit, move |_, domain| domain.map(|d| f(&d)).transpose());
        done.await?.ok_or_else(|| HypervisorError::Failed("The host's hypervisor does not know the server any more.".into()))
    }

    /// Power as libvirt has it; none if libvirt has no such domain.
    async fn power(&self, id: &InstanceId) -> Result<Option<Power>, HypervisorError> {
        self.on(id, QUICK, |_, domain| domain.map(|d| domain::power(&d)).transpose()).await
    }

    fn forget_asking(&self, id: &InstanceId) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Lets it run: from its saved memory if it has one, else from the beginning.
    async fn create(&self, id: &InstanceId, limit: Duration, lease: Lease<'_>) -> Result<(), HypervisorError> {
        let home = self.home(id);
        self.base_is_there(&home).await?;
        let text = home.defined().map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        let started = self.on_if(id, limit, Some(lease), move |connect, domain| match (domain, text) {
            (Some(domain), _) => domain::start(&domain).map(Some),
            // Somebody undefined it.
            (None, Some(text)) => domain::start(&virt::domain::Domain::define_xml(connect, &text)?).map(Some),
            (None, None) => Ok(None),
        });
        let started = match started.await {
            Err(HypervisorError::Failed(why)) => return Err(self.not_started(id, &home, why).await),
            other => other?,
        };
        self.unplugged.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        started.ok_or_else(|| HypervisorError::Failed("Nothing of the server is left on its host.".into()))
    }

    /// What a start that failed means.
    async fn not_started(&self, id: &InstanceId, home: &Home, why: String) -> HypervisorError {
        if why.contains("managed='no'") {
            // Somebody took a tap away: the network worker notices and makes it again.
            let mut unplugged = self.unplugged.lock().unwrap_or_else(PoisonError::into_inner);
            if unplugged.entry(*id).or_insert_with(Instant::now).elapsed() < self.config.shutdown_limit.min(REPLUG) {
                return HypervisorError::NotYet;
            }
            unplugged.remove(id);
            return HypervisorError::Failed("The server can't be started: a network interface of it is missing on its host.".into());
        }
        // If its image was damaged since it was last read, the next start finds it sound.
        if let Some(image) = home.base().filter(|_| ["image", "disk", "backing"].iter().any(|word| why.contains(word)))
            && let Err(e) = self.images.base(&image, true).await
        {
            return e;
        }
        HypervisorError::Failed(format!("The server can't be started on its host: {why}"))
    }

    /// Asks the guest to shut down: whether it still may take its time.
    async fn press(&self, id: &InstanceId) -> Result<bool, HypervisorError> {
        let now = Instant::now();
        let (waiting, press) = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match asked.get_mut(id) {
                None => {
                    asked.insert(*id, (now, now));
                    (true, true)
                }
                Some((first, _)) if now.duration_since(*first) >= self.config.shutdown_limit => (false, false),
                Some((_, last)) => {
                    let again = now.duration_since(*last) >= PRESS_AGAIN;
                    if again {
                        *last = now;
                    }
                    (true, again)
                }
            }
        };
        if press {
            let button = virt_sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN;
            self.change(id, QUICK, move |d| domain::settled(d.shutdown_flags(button), || Ok(!domain::active(d)?))).await?;
        }
        Ok(waiting)
    }

    /// An empty directory for it.
    async fn begin(&self, home: &Home) -> Result<(), HypervisorError> {
        let (at, mode) = (home.clone(), self.config.mode());
        blocking(move || at.begin(mode)).await?.map_err(|e| trouble(home.path(), &e))
    }

    /// The image under the root disk is here and sound, as far as can be told without reading it all.
    async fn base_is_there(&self, home: &Home) -> Result<(), HypervisorError> {
        match home.base() {
            Some(image) => self.images.base(&image, false).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn config_drive(&self, plan: &InstancePlan, home: &Home) -> Result<xml::Disk, HypervisorError> {
        let user_data = match &plan.user_data {
            Some(id) => Some(self.config.secrets.open(id).await.map_err(|why| HypervisorError::Unavailable(format!("user data: {why}")))?),
            None => None,
        };
        let files = self.config.documents.files(plan, user_data.as_deref());
        disks::config_drive(home, &files).await
    }
}

/// Runs what waits for a disk where it may.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, HypervisorError> {
    tokio::task::spawn_blocking(f).await.map_err(|e| HypervisorError::Unavailable(e.to_string()))
}
