//! The members of the security groups that rules name.

use super::{Host, Outcome};
use crate::linux::state::PortState;
use ipnet::IpNet;
use std::collections::BTreeSet;
use strata_events::{PortId, SecurityGroupId};
use strata_projections::plan::port::Remote;

impl Host {
    /// Notes who is in a group. Returns the wish to flush, if any port's rules name it.
    pub fn members(&mut self, id: &SecurityGroupId, members: &[IpNet]) -> Outcome<Option<u64>> {
        if self.groups.get(id).is_some_and(|m| m == members) {
            // Told again because it could not be loaded, or a worker that was before this one knew it.
            let last = *self.told.entry(*id).or_default();
            return Ok((self.flushed < last).then_some(last));
        }
        self.told.entry(*id).or_default();
        self.state.put_group(id, members)?;
        self.groups.insert(*id, members.to_vec());
        let names = |p: &PortState| p.plug.rules.iter().any(|r| r.remote == Remote::Group(*id));
        let naming: Vec<PortId> = self.ports.iter().filter(|(_, p)| names(p)).map(|(id, _)| *id).collect();
        if naming.is_empty() {
            return Ok(None);
        }
        // Also when there are only more: a rule that names a group may have come before the group's members, and what it lets
        // was ended for so long.
        self.changed.extend(naming);
        self.reality = None;
        self.wish += 1;
        self.told.insert(*id, self.wish);
        Ok(Some(self.wish))
    }

    /// Forgets groups that an earlier worker was told of and no port's rules name. One told of in this life may have come before
    /// the port that needs it.
    pub fn without_unnamed(&mut self) -> Outcome<()> {
        let rules = self.ports.values().flat_map(|p| &p.plug.rules);
        let named: BTreeSet<SecurityGroupId> =
            rules.filter_map(|r| if let Remote::Group(id) = r.remote { Some(id) } else { None }).collect();
        let unnamed: Vec<SecurityGroupId> =
            self.groups.keys().filter(|id| !named.contains(id) && !self.told.contains_key(id)).copied().collect();
        for id in unnamed {
            self.state.forget_group(&id)?;
            self.groups.remove(&id);
        }
        Ok(())
    }
}
