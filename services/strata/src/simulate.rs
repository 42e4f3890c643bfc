//! `strata simulate`: hosts without hypervisors, for trying things and for tests. They use the code of real workers, and have
//! what those have: the credentials of their host, and no way to the database.

use crate::host;
use crate::layout::{Layout, write_private};
use crate::supervise::nats;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strata_events::HostName;
use strata_worker::{Identity, SimulateOptions};
use strata_writer::{Conductor, Options as WriterOptions};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many hosts
    #[arg(long, value_name = "N", default_value_t = 1)]
    hosts: u32,
    /// How long a server takes to boot, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    boot_time: u64,
    /// How many of a hundred starts fail
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    failures: u8,
    /// Repeats the failures of a run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// The name of the nth simulated host.
fn name(n: u32) -> HostName {
    HostName(format!("sim-{n}"))
}

fn identity_file(layout: &Layout, host: &HostName) -> PathBuf {
    layout.hosts().join(format!("{host}.json"))
}

/// Runs the hosts until told to stop.
pub fn run(layout: Layout, options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hosts = vec![];
        for host in (1..=options.hosts).map(name) {
            let file = identity_file(&layout, &host);
            let text = std::fs::read_to_string(&file).with_context(|| {
                format!("host {host} has not joined ({}): `strata host simulated {}` lets them", file.display(), options.hosts)
            })?;
            hosts.push(serde_json::from_str::<Identity>(&text).with_context(|| format!("{} is damaged", file.display()))?);
        }
        let how = SimulateOptions {
            boot_time: Duration::from_millis(options.boot_time),
            failures_percent: options.failures,
            seed: options.seed,
            directory: Some(layout.hosts().join("simulated")),
            ..SimulateOptions::default()
        };
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        strata_worker::simulate(hosts, how, stop).await.context("the simulated hosts can't go on")
    })
}

/// Lets so many simulated hosts join that have not yet: with a key and a permit of their own, as real ones do. The control
/// plane does it for them, since they run on its machine.
pub async fn enrol(layout: Layout, count: u32) -> Result<()> {
    let settings = layout.settings()?;
    let url = nats::url(&settings);
    let mut missing = vec![];
    for host in (1..=count).map(name) {
        let kept = std::fs::read(identity_file(&layout, &host)).ok().and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        match kept {
            Some(identity) if identity.nats_url == url => {}
            // The server was moved: the same key and permit are good there too.
            Some(identity) => keep(&layout, &Identity { nats_url: url.clone(), ..identity })?,
            None => missing.push(host),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let account = Arc::new(nats::account_key(&layout, &settings)?);
    let log = crate::serve::connect(&layout, &settings).await?;
    let conductor = Conductor::start(log, WriterOptions { react: false, ..WriterOptions::default() }).await?;
    let mut joining = tokio::task::JoinSet::new();
    for host in missing {
        let (conductor, account, url, layout) = (conductor.clone(), account.clone(), url.clone(), layout.clone());
        joining.spawn(async move {
            let identity = host::admit(&conductor, &account, &url, &host, SimulateOptions::default().inventory).await;
            keep(&layout, &identity.with_context(|| format!("host {host} can't join"))?)
        });
    }
    while let Some(joined) = joining.join_next().await {
        joined??;
    }
    Ok(())
}

fn keep(layout: &Layout, identity: &Identity) -> Result<()> {
    write_private(&identity_file(layout, &identity.host), &serde_json::to_vec(identity)?)
}
