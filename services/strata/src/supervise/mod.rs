//! The supervisor: starts what a cloud consists of, in order, and starts again what dies, until it is told to stop.
//!
//! It holds the lock of the data directory for as long as it lives, so that there is at most one. Its children carry a
//! death signal: if it is killed, they end too, and the next `strata up` begins from what is on disk.

mod keeper;
pub mod libvirt;
pub mod nats;
pub mod postgres;
mod reaper;
pub mod services;

use crate::credentials;
use crate::layout::{Layout, Settings};
use crate::process::Record;
use anyhow::{Context, Result, bail};
use keeper::Keeper;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::time::{Duration, Instant};
use strata_worker::Role;
use tokio::signal::unix::{SignalKind, signal};

/// Held by the one supervisor of a data directory.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// None: another one holds it.
    pub fn take(layout: &Layout) -> Result<Option<Lock>> {
        Self::named(layout, "lock")
    }

    /// Held by the one process that does this part of the work of a host.
    pub fn named(layout: &Layout, name: &str) -> Result<Option<Lock>> {
        let file = layout.run().join(name);
        let handle = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .with_context(|| format!("can't open {}", file.display()))?;
        match handle.try_lock() {
            Ok(()) => Ok(Some(Lock(handle))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("can't lock {}", file.display())),
        }
    }
}

/// Tells the one who waits what is being done. It may have gone away: that is no error.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says what is being done, and how long it took if that is more than a second.
pub async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    say(format_args!("{what} …"));
    let done = work.await.with_context(|| format!("{what} failed"))?;
    if begun.elapsed() > Duration::from_secs(1) {
        say(format_args!("  {:.1} s", begun.elapsed().as_secs_f32()));
    }
    Ok(done)
}

/// The line after which a cloud is up.
pub const READY: &str = "ready";

/// Runs the cloud until SIGTERM or SIGINT.
pub async fn run(layout: Layout, settings: Settings) -> Result<()> {
    let _lock = lock(&layout)?;
    let outcome = keep(&layout, &settings, start).await;
    if settings.postgres_url.is_none() && !layout.socket_dir().starts_with(&layout.data) {
        let _ = std::fs::remove_dir_all(layout.socket_dir());
    }
    outcome
}

/// Keeps a machine that is only a host running, until SIGTERM or SIGINT. Its guests go on running.
pub async fn run_host(layout: Layout, settings: Settings) -> Result<()> {
    let start = async |layout: &Layout, settings: &Settings, keepers: &mut Vec<Keeper>| {
        start_libvirt(layout, settings, keepers)?;
        start_host(layout, settings, keepers).await
    };
    let _lock = lock(&layout)?;
    keep(&layout, &settings, start).await
}

fn lock(layout: &Layout) -> Result<Lock> {
    Lock::take(layout)?.with_context(|| format!("a supervisor runs already in {}", layout.data.display()))
}

/// Keeps what `start` starts running, until SIGTERM or SIGINT.
async fn keep(
    layout: &Layout,
    settings: &Settings,
    start: impl AsyncFnOnce(&Layout, &Settings, &mut Vec<Keeper>) -> Result<()>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Record::of("supervisor", std::process::id()).context("/proc is not mounted")?.keep(layout)?;
    sweep_leftovers(layout);
    let _reaper = reaper::Reaper::start().context("can't adopt orphans")?;
    let mut keepers = vec![];
    let outcome = tokio::select! {
        outcome = start(layout, settings, &mut keepers) => outcome,
        _ = terminate.recv() => bail_stopped(),
        _ = interrupt.recv() => bail_stopped(),
    };
    if outcome.is_ok() {
        say(READY);
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, () = keep_logs_short(layout) => {} }
    }
    // What was started last depends on what was started first.
    for keeper in keepers.into_iter().rev() {
        keeper.stop().await;
    }
    Record::forget(layout, "supervisor");
    outcome
}

async fn keep_logs_short(layout: &Layout) {
    loop {
        tokio::time::sleep(Duration::from_secs(30)).await;
        crate::process::shorten_logs(layout);
    }
}

/// What makes a machine a host: libvirt, unless another was named, and the two workers.
async fn start_host(layout: &Layout, settings: &Settings, keepers: &mut Vec<Keeper>) -> Result<()> {
    if settings.libvirt_uri.is_none() {
        step("starting libvirt", libvirt::ready(layout, settings)).await?;
    }
    for role in [Role::Network, Role::Compute] {
        let spec = layout.clone();
        keepers.push(Keeper::start(layout, role.as_str(), libc::SIGTERM, move || services::worker(&spec, role))?);
    }
    Ok(())
}

/// Begun before all else: the first time it takes seconds to find out what QEMU can do here.
fn start_libvirt(layout: &Layout, settings: &Settings, keepers: &mut Vec<Keeper>) -> Result<()> {
    if settings.libvirt_uri.is_none() {
        let (spec, chosen) = (layout.clone(), settings.clone());
        keepers.push(Keeper::start(layout, "libvirt", libc::SIGTERM, move || libvirt::command(&spec, &chosen))?);
    }
    Ok(())
}

fn bail_stopped() -> Result<()> {
    bail!("told to stop before everything was up")
}

/// Ends what a killed supervisor left over (the kernel tells its children to end, but they need a moment).
fn sweep_leftovers(layout: &Layout) {
    let left: Vec<Record> = crate::process::of_cloud(layout).into_iter().filter(|r| r.pid != std::process::id()).collect();
    if left.is_empty() {
        return;
    }
    say(format_args!("ending {} processes that an earlier run left …", left.len()));
    for record in &left {
        record.signal(if record.name == "postgres" { libc::SIGINT } else { libc::SIGTERM });
    }
    for record in &left {
        if !record.wait_gone(Duration::from_secs(15)) {
            record.signal(libc::SIGKILL);
            record.wait_gone(Duration::from_secs(5));
        }
    }
}

async fn start(layout: &Layout, settings: &Settings, keepers: &mut Vec<Keeper>) -> Result<()> {
    if settings.hypervisor {
        start_libvirt(layout, settings, keepers)?;
    }
    if settings.postgres_url.is_none() {
        if !layout.postgres().join("PG_VERSION").exists() {
            step("creating the PostgreSQL cluster", async { postgres::create(layout) }).await?;
        }
        let spec = layout.clone();
        keepers.push(Keeper::start(layout, "postgres", libc::SIGINT, move || postgres::command(&spec))?);
    }
    step("starting PostgreSQL", postgres::ready(layout, settings)).await?;
    step("preparing the database", async {
        postgres::prepare(layout, settings).await?;
        services::migrate(layout, settings).await
    })
    .await?;
    if settings.nats_url.is_none() {
        let (spec, chosen) = (layout.clone(), settings.clone());
        keepers.push(Keeper::start(layout, "nats", libc::SIGTERM, move || nats::command(&spec, &chosen))?);
    }
    step("starting NATS", nats::ready(layout, settings)).await?;
    credentials::write(layout, settings)?;
    for set in services::sets(settings) {
        let (spec, chosen) = (layout.clone(), settings.clone());
        keepers.push(Keeper::start(layout, &set.name(), libc::SIGTERM, move || services::command(&spec, &chosen, &set))?);
    }
    step("starting the services", services::ready(layout, settings)).await?;
    if settings.hypervisor {
        services::enrol_this(layout).await?;
        start_host(layout, settings, keepers).await?;
    }
    if settings.simulated > 0 {
        let (spec, chosen) = (layout.clone(), settings.clone());
        step(&format!("starting {} simulated hosts", settings.simulated), async {
            services::enrol(layout, settings).await?;
            keepers.push(Keeper::start(layout, "simulate", libc::SIGTERM, move || services::simulate(&spec, &chosen))?);
            Ok(())
        })
        .await?;
    }
    Ok(())
}
