//! The data plane of a real host: a bridge for each network, a tap for each port, a namespace for each network with DHCP and
//! metadata, and nftables for what may pass. Everything outlives the worker: the next one finds it by what it wrote down and
//! what the kernel says, and changes nothing that is as it should be.

mod conntrack;
mod dhcp;
mod firewall;
mod holder;
mod host;
mod link;
mod names;
pub mod netns;
mod process;
mod rules;
mod state;
mod tap;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
mod wanted;
mod watch;

use crate::{Dataplane, DataplaneError, Found};
use host::Host;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use strata_events::{NetworkId, PortId};
use strata_projections::plan::group::GroupPlan;
use strata_projections::plan::port::PlannedPlug;
use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;

/// How this host is set up.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// Where it is noted what was made, and where dnsmasq's files are.
    pub state_dir: PathBuf,
    /// Tells this cloud's rules from those of others on the machine: letters, digits and underscores.
    pub tag: String,
    /// Where namespaces have their names.
    pub netns_dir: PathBuf,
}

impl LinuxConfig {
    pub fn new(state_dir: impl Into<PathBuf>, tag: impl Into<String>) -> Self {
        Self { state_dir: state_dir.into(), tag: tag.into(), netns_dir: "/run/netns".into() }
    }
    /// The namespace from which a network's metadata is served on this host.
    pub fn namespace(&self, network: &NetworkId) -> PathBuf {
        names::namespace(&self.netns_dir, network)
    }
}

/// How long the host may go on changing before it is looked at.
const CALM: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_secs(2);
/// Glances between two whole looks.
const GLANCES: u32 = 15;

/// See the module.
pub struct LinuxDataplane {
    host: Arc<Mutex<Host>>,
    changes: link::Changes,
    damaged: Arc<Damaged>,
    tasks: Vec<AbortHandle>,
}

/// Ports that were whole and are no more.
#[derive(Default)]
struct Damaged {
    ports: StdMutex<BTreeSet<PortId>>,
    some: Notify,
}

impl Drop for LinuxDataplane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl LinuxDataplane {
    /// Takes up what an earlier one left; changes nothing. Needs root, and a tokio runtime.
    pub fn open(config: LinuxConfig) -> Result<Self, DataplaneError> {
        let directory = |p: &Path| {
            std::fs::create_dir_all(p).and_then(|()| p.canonicalize()).map_err(|e| DataplaneError::Failed(format!("{}: {e}", p.display())))
        };
        let config = LinuxConfig { state_dir: directory(&config.state_dir)?, ..config };
        let stir = Arc::new(watch::Stir::default());
        let host = Host::open(config, stir.clone())?;
        let changes = host.changes.clone();
        let host = Arc::new(Mutex::new(host));
        let damaged = Arc::new(Damaged::default());
        let mut tasks = watch::host(&stir)?;
        tasks.push(tokio::spawn(observe(host.clone(), stir, damaged.clone())).abort_handle());
        Ok(Self { host, changes, damaged, tasks })
    }

    /// How often anything was changed: a device, an address, the packet filter, a file, a process. A correct host adds none.
    pub fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// Lets so many more changes happen; the next one breaks off as if the worker had died before it. For tests.
    pub fn die_after(&self, changes: u64) {
        self.changes.die_after(changes);
    }

    /// Removes every port, whatever state it is in, and every network: nothing of this cloud is left on the host's network.
    pub async fn clear(&self) -> Result<(), DataplaneError> {
        let mut host = self.host.lock().await;
        let mut wish = 0;
        let all = host.known();
        for id in &all {
            wish = host.leave(id).await?;
        }
        host.flush(wish, None).await?;
        for id in &all {
            host.left(id).await?;
        }
        host.without_unused().await.into_values().try_for_each(Err)?;
        host.without_rules().await
    }

    async fn bring(&self, id: &PortId, plug: &PlannedPlug) -> Result<(), DataplaneError> {
        let (wish, made, _running) = {
            let mut host = self.host.lock().await;
            let running = host.running();
            let wish = host.wish(id, plug)?;
            (wish, host.make(id, false).await, running)
        };
        // Others may bring theirs meanwhile: whoever is next flushes for all of them. So does one that failed: what it wished
        // is noted, and until that is loaded nobody's port would be seen to be whole.
        let flushed = self.host.lock().await.flush(wish, Some(&plug.network)).await;
        made.and(flushed)?;
        let mut host = self.host.lock().await;
        host.make(id, true).await?;
        host.done(id)
    }
}

/// Looks whenever something stirred, and tells of ports that are no more as they were.
async fn observe(host: Arc<Mutex<Host>>, stir: Arc<watch::Stir>, damaged: Arc<Damaged>) {
    let mut first = true;
    loop {
        let mut whole = true;
        for _ in 0..GLANCES {
            tokio::select! {
                () = stir.heard() => {
                    tokio::time::sleep(CALM).await;
                    whole = stir.of_filter();
                    break;
                }
                () = tokio::time::sleep(GLANCE) => {}
            }
            if host.lock().await.stirred() {
                whole = false;
                break;
            }
        }
        let mut host = host.lock().await;
        host.doubt(whole);
        if host.is_busy() {
            continue; // what is being changed is not damage; it stirs again when it is done
        }
        if std::mem::take(&mut first)
            && let Err(why) = host.without_unnamed()
        {
            tracing::warn!(%why, "groups that no rule names stay noted");
        }
        host.judge().await;
        if let Err(why) = host.look().await {
            tracing::warn!(%why, "this host can't be looked at");
            continue;
        }
        let broken: Vec<PortId> = host.ports.iter().filter(|(id, p)| p.done && !host.is_whole(id)).map(|(id, _)| *id).collect();
        if !broken.is_empty() {
            tracing::info!(ports = broken.len(), "ports are not as they were made");
            damaged.ports.lock().unwrap_or_else(PoisonError::into_inner).extend(broken);
            damaged.some.notify_one();
        }
    }
}

impl Dataplane for LinuxDataplane {
    async fn list(&self) -> Result<Vec<(PortId, PlannedPlug)>, DataplaneError> {
        let mut host = self.host.lock().await;
        host.look().await?;
        Ok(host.ports.iter().filter(|(id, _)| host.is_whole(id)).map(|(id, p)| (*id, p.plug.clone())).collect())
    }
    async fn find(&self, id: &PortId) -> Result<Found, DataplaneError> {
        self.host.lock().await.find(id).await
    }
    async fn plug(&self, id: &PortId, plug: &PlannedPlug) -> Result<(), DataplaneError> {
        self.bring(id, plug).await
    }
    async fn update(&self, id: &PortId, to: &PlannedPlug) -> Result<(), DataplaneError> {
        self.bring(id, to).await
    }
    async fn unplug(&self, id: &PortId) -> Result<(), DataplaneError> {
        let (left, _running) = {
            let mut host = self.host.lock().await;
            let running = host.running();
            (host.leave(id).await, running)
        };
        self.host.lock().await.flush(left?, None).await?;
        self.host.lock().await.left(id).await
    }
    async fn members(&self, group: &GroupPlan) -> Result<(), DataplaneError> {
        let mut host = self.host.lock().await;
        match host.members(&group.id, &group.members)? {
            Some(wish) => host.flush(wish, None).await,
            None => Ok(()),
        }
    }
    async fn trouble(&self) -> Option<String> {
        if let Err(why) = self.list().await {
            return Some(why.to_string());
        }
        // Beside the lock: it changes nothing.
        tokio::task::spawn_blocking(firewall::trouble).await.ok()?
    }
    async fn changed(&self) -> Option<PortId> {
        loop {
            if let Some(id) = self.damaged.ports.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return Some(id);
            }
            self.damaged.some.notified().await;
        }
    }
}
