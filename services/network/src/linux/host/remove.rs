//! Takes away what no port needs any more.

use super::{Host, Outcome};
use crate::DataplaneError;
use crate::linux::link::Kind;
use crate::linux::names;
use std::collections::BTreeMap;
use strata_events::{NetworkId, PortId};

impl Host {
    /// Takes a port's tap away, and notes that all of it shall go.
    pub async fn leave(&mut self, id: &PortId) -> Outcome<u64> {
        let name = names::tap(id);
        let network = match self.ports.remove(id) {
            Some(port) => {
                let zone = self.networks.get(&port.plug.network).map(|n| n.state.zone);
                self.handed_on.extend(zone.iter().flat_map(|zone| port.plug.fixed_ips.iter().map(|f| (*zone, f.ip))));
                Some(port.plug.network)
            }
            None => self.leaving.get(id).copied().flatten(),
        };
        self.leaving.insert(*id, network);
        self.reality = None;
        if let Some(link) = self.root.links().await?.get(&name).filter(|l| l.kind == Kind::Tap) {
            self.root.delete(&name, link.index).await?;
        }
        Ok(match network {
            Some(network) => self.next_wish(network),
            None => {
                self.wish += 1;
                self.wish
            }
        })
    }

    /// Removes what only this port needed.
    pub async fn left(&mut self, id: &PortId) -> Outcome<()> {
        let mut failed = self.without_unused().await;
        for (network, why) in &failed {
            tracing::warn!(%network, %why, "a network that no port is on can't be removed");
        }
        let own = self.leaving.get(id).copied().flatten();
        own.and_then(|network| failed.remove(&network)).map_or(Ok(()), Err)?;
        self.state.forget_port(id)?;
        self.leaving.remove(id);
        Ok(())
    }

    /// Removes networks on which no port is plugged any more. Says which of them are still there, and why.
    pub async fn without_unused(&mut self) -> BTreeMap<NetworkId, DataplaneError> {
        let used = self.used();
        let unused: Vec<NetworkId> = self.networks.keys().filter(|id| !used.contains(id)).copied().collect();
        let mut failed = BTreeMap::new();
        for id in unused {
            if let Err(why) = self.remove_network(&id).await {
                failed.insert(id, why);
            }
        }
        failed
    }

    async fn remove_network(&mut self, id: &NetworkId) -> Outcome<()> {
        self.stop(id).await?;
        let bridge = names::bridge(id);
        if let Some(link) = self.root.links().await?.get(&bridge).filter(|l| l.kind == Kind::Bridge) {
            self.root.delete(&bridge, link.index).await?;
        }
        self.state.forget_network(id)?;
        self.networks.remove(id);
        self.unserved.remove(id);
        Ok(())
    }
}
