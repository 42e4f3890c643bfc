//! `strata worker`: one machine as a host of a cloud, or one of the processes that make it one. It joins once, keeps what it
//! got in the data directory, and needs nothing else from then on.

use crate::host::{self, JoinOptions};
use crate::layout::Layout;
use anyhow::{Context as _, Result};

use strata_worker::SimulateOptions;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    join: JoinOptions,
    /// Have no hypervisor and no data plane, only say so
    #[arg(long)]
    simulated: bool,
}

pub fn run(layout: Layout, options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        crate::layout::dir(&layout.data, 0o700)?;
        crate::layout::dir(&layout.host(), 0o700)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let how = SimulateOptions { directory: Some(layout.host().join("simulated")), ..SimulateOptions::default() };
        let identity = host::joined(&layout, &options.join, how.inventory.clone()).await?;
        strata_worker::simulate(vec![identity], how, stop).await.context("the worker can't go on")
    })
}
