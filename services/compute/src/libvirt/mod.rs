//! Real guests, through libvirt's QEMU driver.
//!
//! What an instance is here lies in its directory ([`home`]): the definition, what was applied, the disks. libvirt runs it, and
//! whatever it forgets is put back from there; only a domain that carries our metadata is ours ([`domain`]). `link` keeps
//! the connection, [`xml`] writes the definition, [`images`] is the cache of what root disks rest on.
//!
//! **Invariants: each call may be repeated and may be cut off between any two effects; looking changes nothing (a counter,
//! [`LibvirtHypervisor::changes`], lets a test prove it).**

mod console;
mod disks;
mod domain;
mod home;
mod images;
mod kvm;
mod link;
mod tool;
mod upkeep;
mod xml;

pub use images::{FetchError, ImageSource};
pub use kvm::VirtType;
pub use xml::{Accelerator, tap};

use crate::{Applied, Domain, Hypervisor, HypervisorError};
use domain::Found;
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
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_events::{HostName, InstanceId, SecretId};
use strata_projections::plan::instance::InstancePlan;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use virt::connect::Connect;
use xml::Surroundings;

/// What libvirt answers at once.
const QUICK: Duration = Duration::from_secs(15);
/// What starts or ends a QEMU process.
const SLOW: Duration = Duration::from_secs(60);
/// Saving or restoring a guest's memory.
const MEMORY: Duration = Duration::from_secs(600);
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
    pub images: Arc<dyn ImageSource>,
    pub secrets: Arc<dyn Secrets>,
    pub documents: Arc<dyn Documents>,
}

/// The shutdown limit that suits most guests.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);

/// See the module.
pub struct LibvirtHypervisor {
    link: Link,
    images: Arc<Images>,
    instances: PathBuf,
    config: LibvirtConfig,
    accelerator: OnceCell<Accelerator>,
    /// Guests that were asked to shut down: when first, and when last.
    asked: Mutex<HashMap<InstanceId, (Instant, Instant)>>,
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
        std::fs::create_dir_all(&instances)?;
        let images = Arc::new(Images::open(config.state_dir.join("images"), config.images.clone())?);
        let upkeep = tokio::spawn(upkeep::run(instances.clone(), images.clone()));
        Ok(Self {
            link: Link::open(&config.uri)?,
            images,
            instances,
            config,
            accelerator: OnceCell::new(),
            asked: Mutex::default(),
            changes: AtomicU64::new(0),
            fuse: AtomicU64::new(u64::MAX),
            upkeep,
        })
    }

    /// How often something was changed, at libvirt or in the files.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
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
        let (host, id) = (self.config.host.clone(), *id);
        let done = self.link.call(limit, move |connect| {
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

impl Hypervisor for LibvirtHypervisor {
    async fn list(&self) -> Result<Vec<Domain>, HypervisorError> {
        let host = self.config.host.clone();
        let known = self.link.call(QUICK, move |connect| {
            let mut ours = vec![];
            for domain in connect.list_all_domains(0)? {
                if domain::owner(&domain)?.is_some_and(|o| o.host == host.0) {
                    ours.push(InstanceId(domain.get_uuid()?));
                }
            }
            Ok(ours)
        });
        let mut ids = known.await?;
        let kept = home::all(&self.instances).map_err(|e| trouble(&self.instances, &e))?;
        ids.extend(kept.into_iter().filter(|id| self.kept(id).is_ok_and(|o| o.is_some())));
        ids.sort();
        ids.dedup();
        let mut domains = vec![];
        for id in ids {
            domains.extend(self.find(&id).await?);
        }
        Ok(domains)
    }

    async fn find(&self, id: &InstanceId) -> Result<Option<Domain>, HypervisorError> {
        let home = self.home(id);
        let here = self.kept(id)?;
        let there = self.on(id, QUICK, |_, domain| {
            let Some(domain) = domain else { return Ok(None) };
            Ok(domain::owner(&domain)?.zip(Some(domain::power(&domain)?)))
        });
        // What libvirt has decides which generation runs; without it the instance is stopped, and can be put back.
        let (generation, power) = match (there.await?, here) {
            (Some((owner, power)), _) => (owner.generation, power),
            (None, Some(owner)) => (owner.generation, Power::Stopped),
            (None, None) => return Ok(None),
        };
        Ok(Some(Domain { id: *id, generation, power, applied: home.applied() }))
    }

    async fn define(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        let home = self.home(&plan.id);
        if self.kept(&plan.id)?.is_some_and(|o| o.generation == plan.generation) {
            return Ok(());
        }
        let base = match &plan.image {
            Some(image) => Some(self.images.base(image, false).await?),
            None => None,
        };
        // Too small a flavor is said before anything is made.
        disks::root_size(plan.size.disk, base.as_ref())?;
        self.effect()?;
        home.begin().map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        let mut disks = match disks::make(plan, &home, base.as_ref()).await {
            // Perhaps it can't be read because it was damaged since: it is read in full, and made again.
            Err(HypervisorError::Failed(_)) if let Some(image) = &plan.image => {
                let base = self.images.base(image, true).await?;
                home.begin().map_err(|e| trouble(home.path(), &e))?;
                disks::make(plan, &home, Some(&base)).await?
            }
            other => other?,
        };
        if plan.config_drive {
            self.effect()?;
            disks.push(self.config_drive(plan, &home).await?);
        }
        let around = Surroundings {
            host: &self.config.host,
            accelerator: self.accelerator().await,
            console_log: &home.console_log(),
            disks: &disks,
        };
        let text = xml::domain(plan, &around);
        if let Some(image) = plan.image.clone() {
            self.effect()?;
            let at = home.clone();
            blocking(move || at.note_base(&image)).await?.map_err(|e| trouble(home.path(), &e))?;
        }
        self.effect()?;
        let (at, kept) = (home.clone(), text.clone());
        blocking(move || at.define(&kept)).await?.map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        // An older definition of the same id is replaced.
        self.on(&plan.id, QUICK, move |connect, _| virt::domain::Domain::define_xml(connect, &text).map(|_| ())).await
    }

    async fn start(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        let home = self.home(id);
        if self.power(id).await? == Some(Power::Running) {
            return Ok(());
        }
        self.base_is_there(&home).await?;
        let text = home.defined().map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        let started = self.on(id, SLOW, move |connect, domain| match (domain, text) {
            (Some(domain), _) => domain::start(&domain).map(Some),
            // Somebody undefined it.
            (None, Some(text)) => domain::start(&virt::domain::Domain::define_xml(connect, &text)?).map(Some),
            (None, None) => Ok(None),
        });
        let started = match started.await {
            Err(HypervisorError::Failed(why)) => {
                // If its image was damaged since it was last read, the next start finds it sound.
                if let Some(image) = home.base().filter(|_| ["image", "disk", "backing"].iter().any(|word| why.contains(word))) {
                    self.images.base(&image, true).await?;
                }
                return Err(HypervisorError::Failed(format!("The server can't be started on its host: {why}")));
            }
            other => other?,
        };
        started.ok_or_else(|| HypervisorError::Failed("Nothing of the server is left on its host.".into()))
    }

    async fn shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        if !matches!(self.power(id).await?, Some(Power::Running)) {
            self.forget_asking(id);
            return Ok(());
        }
        if self.press(id).await? {
            // Its end wakes whoever looks again.
            return Err(HypervisorError::NotYet);
        }
        tracing::info!(instance = %id, "did not shut down in time; it is powered off");
        self.forget_asking(id);
        self.change(id, SLOW, domain::destroy).await
    }

    async fn power_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        match self.power(id).await? {
            Some(Power::Running | Power::Paused) => self.change(id, SLOW, domain::destroy).await,
            Some(Power::Suspended) => self.change(id, QUICK, |d| d.managed_save_remove(0).map(|_| ())).await,
            Some(Power::Stopped | Power::Crashed) | None => Ok(()),
        }
    }

    async fn reboot(&self, id: &InstanceId, hard: bool) -> Result<(), HypervisorError> {
        // Stopped by itself, it is found stopped with a reboot to do, and is started.
        if !hard && self.power(id).await? == Some(Power::Running) && self.press(id).await? {
            return Err(HypervisorError::NotYet);
        }
        self.power_off(id).await?;
        self.start(id).await
    }

    async fn pause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, SLOW, |d| {
            let paused = || Ok(domain::power(d)? == Power::Paused);
            if paused()? { Ok(()) } else { domain::settled(d.suspend(), paused) }
        })
        .await
    }

    async fn unpause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, SLOW, |d| {
            let runs = || Ok(domain::power(d)? == Power::Running);
            if runs()? { Ok(()) } else { domain::settled(d.resume(), runs) }
        })
        .await
    }

    async fn suspend(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, MEMORY, |d| {
            let saved = || Ok(domain::power(d)? == Power::Suspended);
            if saved()? { Ok(()) } else { domain::settled(d.managed_save(0), saved) }
        })
        .await
    }

    async fn resume(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.base_is_there(&self.home(id)).await?;
        self.change(id, MEMORY, domain::start).await
    }

    async fn mark(&self, id: &InstanceId, applied: Applied) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        let home = self.home(id);
        if home.applied() == Some(applied) {
            return Ok(());
        }
        self.effect()?;
        let at = home.clone();
        blocking(move || at.apply(applied)).await?.map_err(|e| trouble(home.path(), &e))
    }

    async fn destroy(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        let known = self.on(id, QUICK, |_, domain| domain.map(|d| domain::active(&d)).transpose()).await?;
        if known == Some(true) {
            self.effect()?;
            self.on(id, SLOW, |_, domain| domain.map_or(Ok(()), |d| domain::destroy(&d))).await?;
        }
        if known.is_some() {
            self.effect()?;
            self.on(id, QUICK, |_, domain| domain.map_or(Ok(()), |d| domain::remove(&d))).await?;
        }
        let home = self.home(id);
        if !home.exists() {
            return Ok(());
        }
        self.effect()?;
        // QEMU's messages, which a private libvirt keeps beside us.
        let messages = self.config.state_dir.join(format!("libvirt/log/qemu/instance-{id}.log"));
        let at = home.clone();
        let removed = move || {
            let _ = std::fs::remove_file(messages);
            at.remove()
        };
        blocking(removed).await?.map_err(|e| trouble(home.path(), &e))
    }

    async fn inventory(&self) -> Result<Inventory, HypervisorError> {
        let (node, version) = self.link.call(QUICK, |connect| Ok((connect.get_node_info()?, connect.get_hyp_version()?))).await?;
        let disk = images::file_system(&self.instances).map_err(|e| trouble(&self.instances, &e))?;
        Ok(Inventory {
            vcpus: node.cpus,
            memory: node.memory / 1024,
            disk: disk.f_blocks.saturating_mul(disk.f_frsize) >> 30,
            hypervisor_type: "QEMU".into(),
            hypervisor_version: version.into(),
            cpu_arch: node.model,
            host_ip: self.config.host_ip.clone(),
        })
    }

    async fn changed(&self) -> Option<InstanceId> {
        self.link.events().next().await
    }
}

/// Runs what waits for a disk where it may.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, HypervisorError> {
    tokio::task::spawn_blocking(f).await.map_err(|e| HypervisorError::Unavailable(e.to_string()))
}
