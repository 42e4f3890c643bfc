//! What this host was last told about its ports, groups and networks, in files, so that a restarted worker knows what it made.
//! Invariant: the file of a port stands before the first thing of it is made and until the last of it is gone; `done` says that
//! all of it was made. A file that can't be read says only that something of the port may be there.

use super::link::Changes;
use crate::DataplaneError;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use strata_events::port::MacAddress;
use strata_events::{NetworkId, PortId, SecurityGroupId};
use strata_projections::plan::port::PlannedPlug;

/// A port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortState {
    pub plug: PlannedPlug,
    /// Its number in the packet filter's marks.
    pub number: u16,
    pub done: bool,
    #[serde(default)]
    pub tap: Tap,
}

/// What a port's tap was, as far as a guest that uses it may notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tap {
    /// Never wholly made: nobody uses it.
    #[default]
    New,
    Made,
    /// Somebody took it away: a guest may still hold what it was, and must be given the new one.
    Lost,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkState {
    /// Its conntrack zone.
    pub zone: u16,
    /// Who was given which address by the dnsmasq that runs.
    #[serde(default)]
    pub leases: BTreeMap<IpAddr, MacAddress>,
    /// What that dnsmasq has read of hosts and options.
    #[serde(default)]
    pub read: String,
}

/// What the packet filter was last given, and how it lists that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RulesState {
    pub text: String,
    pub listing: String,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
    changes: Changes,
}

/// What the directory holds.
#[derive(Debug, Default)]
pub struct Stored {
    pub ports: BTreeMap<PortId, PortState>,
    /// Ports whose file can't be read.
    pub torn: Vec<PortId>,
    pub groups: BTreeMap<SecurityGroupId, Vec<IpNet>>,
    pub networks: BTreeMap<NetworkId, NetworkState>,
    pub rules: RulesState,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> DataplaneError {
    move |e| DataplaneError::Failed(format!("{}: {e}", path.display()))
}

impl State {
    pub fn open(directory: &Path, changes: Changes) -> Result<(Self, Stored), DataplaneError> {
        for part in ["ports", "groups"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let state = Self { directory: directory.to_owned(), changes };
        let mut stored = Stored::default();
        for id in state.ids::<PortId>("ports")? {
            match state.get(&format!("ports/{id}.json")) {
                Some(port) => drop(stored.ports.insert(id, port)),
                None => stored.torn.push(id),
            }
        }
        for id in state.ids::<SecurityGroupId>("groups")? {
            stored.groups.extend(state.get(&format!("groups/{id}.json")).map(|members| (id, members)));
        }
        for id in state.ids::<NetworkId>("")? {
            stored.networks.extend(state.get(&format!("{id}/network.json")).map(|network| (id, network)));
        }
        stored.rules = state.get("rules.json").unwrap_or_default();
        Ok((state, stored))
    }

    /// The entries of a part that are named by ids.
    fn ids<T: std::str::FromStr>(&self, part: &str) -> Result<Vec<T>, DataplaneError> {
        let path = self.directory.join(part);
        let entries = std::fs::read_dir(&path).map_err(failed(&path))?;
        Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.trim_end_matches(".json").parse().ok()).collect())
    }

    fn get<T: serde::de::DeserializeOwned>(&self, file: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.directory.join(file)).ok()?).ok()
    }

    pub fn network(&self, id: &NetworkId) -> PathBuf {
        self.directory.join(id.to_string())
    }
    pub fn put_port(&self, id: &PortId, port: &PortState) -> Result<(), DataplaneError> {
        self.put(&format!("ports/{id}.json"), port)
    }
    pub fn put_group(&self, id: &SecurityGroupId, members: &[IpNet]) -> Result<(), DataplaneError> {
        self.put(&format!("groups/{id}.json"), members)
    }
    pub fn put_network(&self, id: &NetworkId, network: &NetworkState) -> Result<(), DataplaneError> {
        let directory = self.network(id);
        std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
        self.put(&format!("{id}/network.json"), network)
    }
    pub fn put_rules(&self, rules: &RulesState) -> Result<(), DataplaneError> {
        self.put("rules.json", rules)
    }
    fn put<T: Serialize + ?Sized>(&self, file: &str, value: &T) -> Result<(), DataplaneError> {
        let json = serde_json::to_vec(value).map_err(|e| DataplaneError::Failed(format!("{file}: {e}")))?;
        self.write(&self.directory.join(file), &json)
    }

    /// Writes a file whole or not at all, and not if it says so already.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), DataplaneError> {
        if std::fs::read(path).is_ok_and(|now| now == bytes) {
            return Ok(());
        }
        self.changes.one();
        let draft = path.with_extension("new");
        std::fs::write(&draft, bytes).and_then(|()| std::fs::rename(&draft, path)).map_err(failed(path))
    }

    pub fn forget_port(&self, id: &PortId) -> Result<(), DataplaneError> {
        self.remove(&self.directory.join(format!("ports/{id}.json")))
    }
    pub fn forget_group(&self, id: &SecurityGroupId) -> Result<(), DataplaneError> {
        self.remove(&self.directory.join(format!("groups/{id}.json")))
    }
    pub fn remove(&self, path: &Path) -> Result<(), DataplaneError> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => {
                self.changes.one();
                done.map_err(failed(path))
            }
        }
    }
    pub fn forget_network(&self, id: &NetworkId) -> Result<(), DataplaneError> {
        let path = self.network(id);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => {
                self.changes.one();
                done.map_err(failed(&path))
            }
        }
    }
}
