//! A data plane that keeps its ports in memory, and in files when asked to, so that a restarted worker finds them.

use crate::{Dataplane, DataplaneError, Found};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use strata_events::PortId;
use strata_projections::plan::group::GroupPlan;
use strata_projections::plan::port::PlannedPlug;

/// See the module.
#[derive(Default)]
pub struct SimulatedDataplane {
    directory: Option<PathBuf>,
    ports: Mutex<BTreeMap<PortId, PlannedPlug>>,
    changes: AtomicU64,
}

impl SimulatedDataplane {
    /// With the ports that the directory holds, if there is one.
    pub fn open(directory: Option<PathBuf>) -> std::io::Result<Self> {
        let mut ports = BTreeMap::new();
        if let Some(directory) = &directory {
            std::fs::create_dir_all(directory)?;
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                // What a crash left half written was never said to be there.
                if path.extension().is_some_and(|e| e == "json") {
                    let (id, plug): (PortId, PlannedPlug) = serde_json::from_slice(&std::fs::read(&path)?)?;
                    ports.insert(id, plug);
                }
            }
        }
        Ok(Self { directory, ports: Mutex::new(ports), changes: AtomicU64::new(0) })
    }
    /// How often something was changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
    fn change(&self, id: &PortId, plug: Option<&PlannedPlug>) -> Result<(), DataplaneError> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = &self.directory {
            let file = directory.join(format!("{id}.json"));
            let written = match plug {
                Some(plug) => {
                    let draft = directory.join(format!("{id}.new"));
                    serde_json::to_vec(&(id, plug))
                        .map_err(std::io::Error::from)
                        .and_then(|json| std::fs::write(&draft, json))
                        .and_then(|()| std::fs::rename(&draft, &file))
                }
                None => std::fs::remove_file(&file).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }),
            };
            written.map_err(|e| DataplaneError::Unavailable(format!("{}: {e}", file.display())))?;
        }
        match plug {
            Some(plug) => ports.insert(*id, plug.clone()),
            None => ports.remove(id),
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Dataplane for SimulatedDataplane {
    async fn list(&self) -> Result<Vec<(PortId, PlannedPlug)>, DataplaneError> {
        Ok(self.ports.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(id, p)| (*id, p.clone())).collect())
    }
    async fn find(&self, id: &PortId) -> Result<Found, DataplaneError> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ports.get(id).map_or(Found::Nothing, |plug| Found::Whole(Box::new(plug.clone()))))
    }
    async fn plug(&self, id: &PortId, plug: &PlannedPlug) -> Result<(), DataplaneError> {
        self.change(id, Some(plug))
    }
    async fn update(&self, id: &PortId, to: &PlannedPlug) -> Result<(), DataplaneError> {
        self.change(id, Some(to))
    }
    async fn unplug(&self, id: &PortId) -> Result<(), DataplaneError> {
        self.change(id, None)
    }
    /// Nothing is filtered here.
    async fn members(&self, _group: &GroupPlan) -> Result<(), DataplaneError> {
        Ok(())
    }
    async fn changed(&self) -> Option<PortId> {
        std::future::pending().await
    }
}
