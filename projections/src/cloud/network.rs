//! Networks. Invariants: a VNI belongs to at most one live network (5).

use super::counts::Counts;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::{NetworkId, ProjectId, Timestamp};

/// A network as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub project: ProjectId,
    pub segment: Segment,
    pub attributes: NetworkAttributes,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u32,
}

/// The live networks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Networks {
    all: Table<NetworkId, Network>,
    by_project: OrdSet<(ProjectId, NetworkId)>,
    vnis: OrdMap<u32, NetworkId>,
    /// Flat (no tag) and tagged segments of physical networks.
    physical: OrdMap<(String, Option<u16>), NetworkId>,
    /// Shared and external ones: every project sees them.
    common: OrdSet<NetworkId>,
    counts: Counts,
}

impl std::ops::Deref for Networks {
    type Target = Table<NetworkId, Network>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

/// The highest number that fits into a VXLAN header.
pub const MAX_VNI: u32 = (1 << 24) - 1;

impl Network {
    /// Whether projects other than the owner see it.
    pub fn is_common(&self) -> bool {
        self.attributes.shared || self.attributes.external
    }
}

impl Networks {
    /// bytes; 1500 when the network is gone
    pub fn mtu(&self, id: &NetworkId) -> u16 {
        self.all.get(id).map_or(1500, |n| n.attributes.mtu)
    }
    pub fn owner_of_vni(&self, vni: u32) -> Option<&NetworkId> {
        self.vnis.get(&vni)
    }
    /// The lowest VNI from `first` on that no live network has; none when all are taken. One step for each VNI in use.
    pub fn free_vni(&self, first: u32) -> Option<u32> {
        let mut next = first;
        for (vni, _) in self.vnis.range(first..) {
            if *vni != next {
                break;
            }
            next += 1;
        }
        (next <= MAX_VNI).then_some(next)
    }
    /// The network on a physical segment: a VLAN, or the untagged one.
    pub fn owner_of_physical(&self, physical_network: &str, vlan: Option<u16>) -> Option<&NetworkId> {
        self.physical.get(&(physical_network.to_owned(), vlan))
    }
    /// How many a project has.
    pub fn count(&self, project: &ProjectId) -> u32 {
        self.counts.of(project)
    }
    /// Those that every project sees: shared and external.
    pub fn common(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.common.iter().filter_map(|id| self.all.get(id))
    }
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Network>> {
        let project = *project;
        let first = (project, NetworkId(uuid::Uuid::nil()));
        self.by_project.range(first..).take_while(move |(p, _)| *p == project).filter_map(|(_, id)| self.all.get(id))
    }
}

/// A subnet came, changed or went: that is a change of its network too.
pub(super) fn touched(cloud: &mut Cloud, id: &NetworkId, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    cloud.networks.all.change(id, |n| {
        n.updated_at = stamp.at;
        n.revision += 1;
    })
}

pub(super) fn apply(cloud: &mut Cloud, event: &NetworkEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let networks = &mut cloud.networks;
    match event {
        NetworkEvent::NetworkCreated { id, project, segment, attributes } => {
            let owner = match segment {
                Segment::Vxlan { vni } => networks.vnis.insert(*vni, *id),
                Segment::Flat { physical_network } => networks.physical.insert((physical_network.clone(), None), *id),
                Segment::Vlan { physical_network, vlan } => networks.physical.insert((physical_network.clone(), Some(*vlan)), *id),
            };
            if owner.is_some() {
                return Err(CannotApply::because(format!("{segment:?} has two owners")));
            }
            networks.by_project.insert((*project, *id));
            networks.counts.add(project, 1);
            if attributes.shared || attributes.external {
                networks.common.insert(*id);
            }
            networks.all.add(
                *id,
                Network {
                    id: *id,
                    project: *project,
                    segment: segment.clone(),
                    attributes: attributes.clone(),
                    created_at: stamp.at,
                    updated_at: stamp.at,
                    revision: 1,
                },
            )
        }
        NetworkEvent::NetworkUpdated { id, attributes } => {
            if attributes.shared || attributes.external {
                networks.common.insert(*id);
            } else {
                networks.common.remove(id);
            }
            networks.all.change(id, |n| {
                n.attributes = attributes.clone();
                n.updated_at = stamp.at;
                n.revision += 1;
            })
        }
        NetworkEvent::NetworkDeleted { id } => {
            let network = networks.all.remove(id)?;
            networks.by_project.remove(&(network.project, *id));
            networks.counts.take(&network.project, 1);
            networks.common.remove(id);
            match &network.segment {
                Segment::Vxlan { vni } => networks.vnis.remove(vni),
                Segment::Flat { physical_network } => networks.physical.remove(&(physical_network.clone(), None)),
                Segment::Vlan { physical_network, vlan } => networks.physical.remove(&(physical_network.clone(), Some(*vlan))),
            };
            cloud.end_of_stream(NetworkEvent::KIND, id.0);
            Ok(())
        }
    }
}
