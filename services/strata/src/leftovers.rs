//! What a host leaves running when its cloud stops, on purpose: guests, and their networks. `down --guests` shuts the guests down,
//! `down --wipe` removes both.

use crate::guests::HostAccess;
use crate::host;
use crate::layout::{Layout, Settings};
use crate::{supervise, tools, worker};
use anyhow::{Context as _, Result, anyhow};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_compute::{Domain, Hypervisor, HypervisorError, LibvirtHypervisor};
use strata_events::instance::Power;
use strata_worker::{Access, Identity, Role};

/// How long a guest may take to shut down before its power is cut.
const PATIENCE: Duration = Duration::from_secs(45);
/// And how long libvirt may take to answer at all.
const CONNECTING: Duration = Duration::from_secs(15);

/// Asks every guest to shut down, and waits; those that a cloud left running that is down itself, too.
pub fn shut_down(layout: &Layout) -> Result<()> {
    let Some((settings, identity)) = of_host(layout)? else { return Ok(()) };
    if settings.libvirt_uri.is_none() && supervise::libvirt::guests(layout).is_empty() {
        return Ok(());
    }
    tools::block_on(async {
        let libvirt = supervise::libvirt::for_now(layout, &settings).await?;
        let outcome = shut_all_down(layout, &settings, &identity).await;
        if let Some(libvirt) = libvirt {
            supervise::libvirt::end(libvirt).await;
        }
        outcome
    })
}

async fn shut_all_down(layout: &Layout, settings: &Settings, identity: &Identity) -> Result<()> {
    // It fetches nothing here: the connection is only what the hypervisor is opened with.
    let access = Arc::new(HostAccess(Access::connect(identity.clone(), Role::Compute).await?));
    let hypervisor = worker::hypervisor(layout, settings, identity, access)?;
    hypervisor.connected(CONNECTING).await.map_err(|e| anyhow!("{e}"))?;
    let mut running = hypervisor.list().await.map_err(|e| anyhow!("{e}"))?;
    running.retain(|d| matches!(d.power, Power::Running | Power::Paused));
    if !running.is_empty() {
        out!("shutting {} guests down …", running.len());
    }
    join_all(running.iter().map(|d| shut(&hypervisor, d))).await.into_iter().collect()
}

async fn shut(hypervisor: &LibvirtHypervisor, domain: &Domain) -> Result<()> {
    let (begun, id) = (Instant::now(), domain.id);
    let failed = |e| anyhow!("guest {id}: {e}");
    if domain.power == Power::Paused {
        // It hears nothing until it goes on.
        hypervisor.unpause(&id).await.map_err(failed)?;
    }
    while begun.elapsed() < PATIENCE {
        match hypervisor.shutdown(&id).await {
            Ok(()) | Err(HypervisorError::NotYet) => {}
            Err(e) => return Err(failed(e)),
        }
        if hypervisor.find(&id).await.map_err(failed)?.is_none_or(|d| d.power != Power::Running) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    hypervisor.power_off(&id).await.map_err(failed)
}

/// Removes guests, taps, bridges, namespaces and rules. The cloud's processes have ended.
pub fn remove(layout: &Layout) -> Result<()> {
    let Some((settings, identity)) = of_host(layout)? else { return Ok(()) };
    supervise::libvirt::end_guests(layout);
    tools::block_on(async {
        if settings.libvirt_uri.is_some() {
            let access = Arc::new(HostAccess(Access::connect(identity.clone(), Role::Compute).await?));
            let hypervisor = worker::hypervisor(layout, &settings, &identity, access)?;
            hypervisor.connected(CONNECTING).await.map_err(|e| anyhow!("{e}"))?;
            for domain in hypervisor.list().await.map_err(|e| anyhow!("{e}"))? {
                hypervisor.destroy(&domain.id).await.map_err(|e| anyhow!("guest {}: {e}", domain.id))?;
            }
        }
        let (dataplane, _) = worker::dataplane(layout)?;
        // Also what is only half made, or damaged.
        dataplane.clear().await.map_err(|e| anyhow!("{e}"))
    })
    .context("something of the guests is left")
}

/// None: this machine never was a host with guests. That it is none any more (`--simulated` was said since) is no reason to leave
/// what it made.
fn of_host(layout: &Layout) -> Result<Option<(Settings, Identity)>> {
    let Some(identity) = host::identity(layout)? else { return Ok(None) };
    let settings = if layout.settings_file().exists() { layout.settings()? } else { Settings::default() };
    let made = ["instances", "network"].iter().any(|what| layout.host().join(what).exists());
    Ok(made.then_some((settings, identity)))
}
