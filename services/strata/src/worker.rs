//! `strata worker`: one machine as a host of a cloud, or one of the processes that make it one. It joins once, keeps what it
//! got in the data directory, and needs nothing else from then on.
//!
//! `compute` sees to instances through libvirt, `network` to ports through netlink, nftables and dnsmasq, and answers guests
//! that ask for their metadata. Either may end and begin again at any time: what runs goes on, and only what differs from
//! the plan is touched.

use crate::guests::{Guests, HostAccess};
use crate::host::{self, JoinOptions};
use crate::layout::{Layout, Settings};
use crate::supervise::{self, Lock};
use anyhow::{Context as _, Result};
use std::sync::Arc;
use strata_compute::libvirt::{LibvirtConfig, LibvirtHypervisor, SHUTDOWN_LIMIT, VirtType};
use strata_metadata::Metadata;
use strata_network::linux::{LinuxConfig, LinuxDataplane};
use strata_worker::{Access, Identity, ReadConsole, Role, SimulateOptions, WorkerOptions, instances, ports, run_worker};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only this part of it; none: all, and what they need
    #[arg(value_enum)]
    part: Option<Part>,
    #[command(flatten)]
    join: JoinOptions,
    /// Run servers on this libvirt (of this machine) instead of a private one
    #[arg(long, value_name = "URI")]
    libvirt_uri: Option<String>,
    /// Have no hypervisor and no data plane, only say so
    #[arg(long, conflicts_with_all = ["part", "libvirt_uri"])]
    simulated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    Compute,
    Network,
}

/// A worker waits most of the time, and libvirt's calls have threads of their own: it needs no thread for each core.
const THREADS: usize = 2;

pub fn run(layout: Layout, options: Options) -> Result<()> {
    crate::layout::dir(&layout.data, 0o711)?;
    crate::layout::dir(&layout.host(), 0o711)?;
    let settings = settings(&layout, &options)?;
    if options.part.is_none() && !options.simulated {
        layout.create()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(host::joined(&layout, &options.join, host::inventory(&layout)))?;
        return tokio::task::LocalSet::new().block_on(&runtime, supervise::run_host(layout, settings));
    }
    // Beside the supervisor's or another that was started by hand, each would undo what the other does.
    let _lock = options.part.map(|part| lock(&layout, part)).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let identity = host::joined(&layout, &options.join, host::inventory(&layout)).await?;
        match options.part {
            Some(Part::Compute) => compute(&layout, &settings, identity, stop).await,
            Some(Part::Network) => network(&layout, identity, stop).await,
            None => {
                let how = SimulateOptions { directory: Some(layout.host().join("simulated")), ..SimulateOptions::default() };
                strata_worker::simulate(vec![identity], how, stop).await.context("the worker can't go on")
            }
        }
    });
    // A call to libvirt that hangs holds nothing that must be finished.
    runtime.shutdown_background();
    outcome
}

fn lock(layout: &Layout, part: Part) -> Result<Lock> {
    crate::layout::dir(&layout.run(), 0o711)?;
    let name = match part {
        Part::Compute => "compute",
        Part::Network => "network",
    };
    let taken = Lock::named(layout, &format!("{name}.lock"))?;
    taken.with_context(|| format!("a {name} worker runs already in {}: end it first", layout.data.display()))
}

/// Those of the cloud that runs here, or of a machine that has only a host.
fn settings(layout: &Layout, options: &Options) -> Result<Settings> {
    let mut settings = if layout.settings_file().exists() { layout.settings()? } else { Settings::default() };
    settings.libvirt_uri = options.libvirt_uri.clone().or(settings.libvirt_uri);
    Ok(settings)
}

/// The hypervisor of this machine, as the workers and `down` see it.
pub fn hypervisor(layout: &Layout, settings: &Settings, identity: &Identity, access: Arc<HostAccess>) -> Result<LibvirtHypervisor> {
    let config = LibvirtConfig {
        uri: settings.libvirt_uri.clone().unwrap_or_else(|| supervise::libvirt::uri(layout, settings)),
        state_dir: layout.host(),
        host: identity.host.clone(),
        host_ip: "127.0.0.1".into(),
        virt_type: VirtType::Auto,
        shutdown_limit: SHUTDOWN_LIMIT,
        shared: settings.libvirt_uri.is_some(),
        images: access.clone(),
        secrets: access,
        documents: Arc::new(strata_metadata::config_drive_files),
    };
    LibvirtHypervisor::open(config).context("can't open the hypervisor's state")
}

/// The data plane of this machine.
pub fn dataplane(layout: &Layout) -> Result<(LinuxDataplane, LinuxConfig)> {
    let config = LinuxConfig::new(layout.host().join("network"), layout.tag());
    Ok((LinuxDataplane::open(config.clone()).context("can't open the data plane")?, config))
}

async fn compute(layout: &Layout, settings: &Settings, identity: Identity, stop: impl Future<Output = ()> + Send) -> Result<()> {
    let access = Access::connect(identity.clone(), Role::Compute).await?;
    let hypervisor = Arc::new(hypervisor(layout, settings, &identity, Arc::new(HostAccess(access.clone())))?);
    let reader = hypervisor.clone();
    let console: ReadConsole = Arc::new(move |id, lines| {
        let reader = reader.clone();
        Box::pin(async move {
            let lines = lines.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            let read = tokio::task::spawn_blocking(move || reader.console(&id, lines)).await.map_err(|e| e.to_string())?;
            read.map_err(|e| format!("the console log of instance {id} can't be read: {e}"))
        })
    });
    run_worker(&access, vec![instances(hypervisor)], Some(console), WorkerOptions::default(), stop).await;
    Ok(())
}

async fn network(layout: &Layout, identity: Identity, stop: impl Future<Output = ()> + Send) -> Result<()> {
    let access = Access::connect(identity, Role::Network).await?;
    let (dataplane, config) = dataplane(layout)?;
    let control = Arc::new(HostAccess(access.clone()));
    let metadata = Arc::new(Metadata::new(control.clone(), Some(control)));
    let guests = Guests::new(metadata.clone());
    let halves = vec![ports(Arc::new(dataplane)), guests];
    tokio::select! {
        () = run_worker(&access, halves, None, WorkerOptions::default(), stop) => {}
        () = metadata.run(Arc::new(crate::guests::NetworkDoors(config))) => {}
    }
    Ok(())
}
