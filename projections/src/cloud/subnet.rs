//! Subnets: the ranges from which ports get their addresses.

use super::counts::Counts;
use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdSet;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::subnet::{SubnetAttributes, SubnetEvent};
use strata_events::{NetworkId, ProjectId, SubnetId, Timestamp};

/// A subnet as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: SubnetId,
    pub project: ProjectId,
    pub network: NetworkId,
    pub cidr: IpNet,
    pub ipv6_address_mode: Option<String>,
    pub ipv6_ra_mode: Option<String>,
    pub attributes: SubnetAttributes,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u32,
}

/// The live subnets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subnets {
    all: Table<SubnetId, Subnet>,
    by_network: OrdSet<(NetworkId, Timestamp, SubnetId)>,
    by_project: OrdSet<(ProjectId, SubnetId)>,
    counts: Counts,
}

impl std::ops::Deref for Subnets {
    type Target = Table<SubnetId, Subnet>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Subnets {
    /// A network's, oldest first.
    pub fn on_network(&self, network: &NetworkId) -> impl Iterator<Item = &Arc<Subnet>> {
        let network = *network;
        let first = (network, Timestamp(i64::MIN), SubnetId(uuid::Uuid::nil()));
        self.by_network.range(first..).take_while(move |(n, _, _)| *n == network).filter_map(|(_, _, id)| self.all.get(id))
    }
    /// How many a project has.
    pub fn count(&self, project: &ProjectId) -> u32 {
        self.counts.of(project)
    }
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Subnet>> {
        let project = *project;
        let first = (project, SubnetId(uuid::Uuid::nil()));
        self.by_project.range(first..).take_while(move |(p, _)| *p == project).filter_map(|(_, id)| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &SubnetEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let network = match event {
        SubnetEvent::SubnetCreated { network, .. } => *network,
        SubnetEvent::SubnetUpdated { id, .. } | SubnetEvent::SubnetDeleted { id } => cloud.subnets.need(id)?.network,
    };
    super::network::touched(cloud, &network, stamp)?;
    let subnets = &mut cloud.subnets;
    match event {
        SubnetEvent::SubnetCreated { id, project, network, cidr, ipv6_address_mode, ipv6_ra_mode, attributes } => {
            subnets.by_network.insert((*network, stamp.at, *id));
            subnets.by_project.insert((*project, *id));
            subnets.counts.add(project, 1);
            subnets.all.add(
                *id,
                Subnet {
                    id: *id,
                    project: *project,
                    network: *network,
                    cidr: *cidr,
                    ipv6_address_mode: ipv6_address_mode.clone(),
                    ipv6_ra_mode: ipv6_ra_mode.clone(),
                    attributes: attributes.clone(),
                    created_at: stamp.at,
                    updated_at: stamp.at,
                    revision: 1,
                },
            )
        }
        SubnetEvent::SubnetUpdated { id, attributes } => subnets.all.change(id, |s| {
            s.attributes = attributes.clone();
            s.updated_at = stamp.at;
            s.revision += 1;
        }),
        SubnetEvent::SubnetDeleted { id } => {
            let subnet = subnets.all.remove(id)?;
            subnets.by_network.remove(&(subnet.network, subnet.created_at, *id));
            subnets.by_project.remove(&(subnet.project, *id));
            subnets.counts.take(&subnet.project, 1);
            cloud.end_of_stream(SubnetEvent::KIND, id.0);
            Ok(())
        }
    }
}
