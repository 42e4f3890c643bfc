//! A data plane that keeps its ports in memory, and in a file when asked to, so that a restarted worker finds them.

use crate::{Dataplane, DataplaneError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use strata_events::PortId;
use strata_projections::plan::port::PlannedPlug;

/// See the module.
#[derive(Default)]
pub struct SimulatedDataplane {
    file: Option<PathBuf>,
    ports: Mutex<BTreeMap<PortId, PlannedPlug>>,
    changes: AtomicU64,
}

impl SimulatedDataplane {
    /// With the ports that the file holds, if there is one.
    pub fn open(file: Option<PathBuf>) -> std::io::Result<Self> {
        let ports: BTreeMap<PortId, PlannedPlug> = match file.as_ref().map(std::fs::read) {
            None => BTreeMap::new(),
            Some(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Some(read) => serde_json::from_slice(&read?)?,
        };
        Ok(Self { file, ports: Mutex::new(ports), changes: AtomicU64::new(0) })
    }
    /// How often something was changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
    fn change(&self, f: impl FnOnce(&mut BTreeMap<PortId, PlannedPlug>)) -> Result<(), DataplaneError> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut ports);
        self.changes.fetch_add(1, Ordering::Relaxed);
        if let Some(file) = &self.file {
            let write = || -> std::io::Result<()> {
                let draft = file.with_extension("new");
                std::fs::write(&draft, serde_json::to_vec(&*ports)?)?;
                std::fs::rename(draft, file)
            };
            write().map_err(|e| DataplaneError::Unavailable(format!("{}: {e}", file.display())))?;
        }
        Ok(())
    }
}

impl Dataplane for SimulatedDataplane {
    async fn list(&self) -> Result<Vec<(PortId, PlannedPlug)>, DataplaneError> {
        Ok(self.ports.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(id, p)| (*id, p.clone())).collect())
    }
    async fn find(&self, id: &PortId) -> Result<Option<PlannedPlug>, DataplaneError> {
        Ok(self.ports.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned())
    }
    async fn plug(&self, id: &PortId, plug: &PlannedPlug) -> Result<(), DataplaneError> {
        self.change(|ports| drop(ports.insert(*id, plug.clone())))
    }
    async fn update(&self, id: &PortId, _from: &PlannedPlug, to: &PlannedPlug) -> Result<(), DataplaneError> {
        self.change(|ports| drop(ports.insert(*id, to.clone())))
    }
    async fn unplug(&self, id: &PortId) -> Result<(), DataplaneError> {
        self.change(|ports| drop(ports.remove(id)))
    }
    async fn changed(&self) -> Option<PortId> {
        std::future::pending().await
    }
}
