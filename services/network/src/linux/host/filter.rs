//! The packet filter: all rules of this cloud's ports in one table, changed as one; and the connections that it lets be no more.

use super::{Host, Outcome, blocking, digest};
use crate::DataplaneError;
use crate::linux::link::Changes;
use crate::linux::state::{PortState, RulesState};
use crate::linux::{conntrack, process, rules};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use strata_events::NetworkId;

/// Ends all connections of these addresses. What fails stays to be done.
async fn end(handed_on: &mut BTreeSet<(u16, IpAddr)>, changes: &Changes) {
    if handed_on.is_empty() {
        return;
    }
    let (over, changes) = (handed_on.clone(), changes.clone());
    let failed = |e: std::io::Error| DataplaneError::Failed(e.to_string());
    match blocking(move || conntrack::judge(&[], &over, &BTreeMap::new(), &changes).map_err(failed)).await {
        Ok(()) => handed_on.clear(),
        Err(why) => tracing::warn!(%why, "connections of addresses that have another owner now can't be ended"),
    }
}

impl Host {
    fn ruleset(&self) -> String {
        let zones = self.networks.iter().map(|(id, n)| (*id, n.state.zone)).collect();
        let ports = self.ports.iter().map(|(id, p)| rules::Port { id, number: p.number, plug: &p.plug }).collect();
        rules::ruleset(&rules::Input { tag: &self.config.tag, ports, zones: &zones, groups: &self.groups })
    }

    pub(super) async fn listing(&mut self) -> Outcome<String> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let table = rules::table(&self.config.tag);
        let listed = digest(&blocking(move || process::list_tables(&table)).await?);
        Ok(self.listed.insert(listed).clone())
    }

    /// Whether the packet filter holds what the ports want.
    pub(super) fn is_filtered(&self) -> bool {
        self.listed.as_ref() == Some(&self.rules.listing) && self.rules.text == digest(self.ruleset().as_bytes())
    }

    pub(super) async fn filter(&mut self) -> Outcome<()> {
        let text = self.ruleset();
        let wanted = digest(text.as_bytes());
        let listed = self.listing().await?;
        if wanted == self.rules.text && self.rules.listing == listed {
            self.judge().await;
            return Ok(());
        }
        self.judge_anew();
        let (changes, filtered) = (self.changes.clone(), self.ports.values().any(|p| p.plug.port_security_enabled));
        self.listed = None;
        let load = move || {
            if filtered {
                process::need_bridge_filter()?;
            }
            process::load_rules(&text, &changes)
        };
        // Beside it: an address that has no owner any more, or none yet, gets no new connections meanwhile.
        let (loaded, ()) = tokio::join!(blocking(load), end(&mut self.handed_on, &self.changes));
        loaded?;
        let listing = self.listing().await?;
        if listing == digest(b"") && !self.ports.is_empty() {
            return Err(DataplaneError::Unavailable("the packet filter's rules were loaded and are not there".into()));
        }
        self.rules = RulesState { text: wanted, listing };
        self.state.put_rules(&self.rules)?;
        self.judge_anew();
        self.judge().await;
        Ok(())
    }

    /// Ends the connections that changed rules would not let begin, and those of addresses that have another owner now. What
    /// fails is tried again with the next change or look: no port has to wait for it.
    pub async fn judge(&mut self) {
        let networks: BTreeSet<NetworkId> = self.changed.iter().filter_map(|id| Some(self.ports.get(id)?.plug.network)).collect();
        let ports = self.ports.iter().filter_map(|(id, PortState { plug, .. })| {
            let zone = networks.get(&plug.network).and_then(|n| self.networks.get(n))?.state.zone;
            Some(conntrack::Judged { plug: plug.clone(), zone, anew: self.changed.contains(id) })
        });
        let ports: Vec<conntrack::Judged> = ports.collect();
        end(&mut self.handed_on, &self.changes).await;
        if !ports.is_empty() {
            let (groups, changes) = (self.groups.clone(), self.changes.clone());
            let failed = |e: std::io::Error| DataplaneError::Failed(e.to_string());
            if let Err(why) = blocking(move || conntrack::judge(&ports, &BTreeSet::new(), &groups, &changes).map_err(failed)).await {
                tracing::warn!(%why, "connections that are allowed no more can't be ended");
                return;
            }
        }
        self.changed.clear();
    }

    /// Takes the rules away, also those that nothing is known of any more. Only when no port is left.
    pub async fn without_rules(&mut self) -> Outcome<()> {
        self.listed = None;
        if self.ports.is_empty() && self.listing().await? != digest(b"") {
            self.rules = RulesState::default();
            self.filter().await?;
        }
        Ok(())
    }
}
