//! Server groups. Membership is a fact of the instance ([`super::instance::Instances::of_group`]); a deleted group leaves its
//! members free.

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::server_group::{GroupPolicy, ServerGroupEvent};
use strata_events::{ProjectId, ServerGroupId, Timestamp, UserId};

/// A server group as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerGroup {
    pub id: ServerGroupId,
    pub project: ProjectId,
    pub user: UserId,
    pub name: String,
    pub policy: GroupPolicy,
    pub max_server_per_host: Option<u32>,
    pub created_at: Timestamp,
}

/// The live server groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerGroups {
    all: Table<ServerGroupId, ServerGroup>,
    by_project: OrdSet<(ProjectId, Timestamp, ServerGroupId)>,
}

impl std::ops::Deref for ServerGroups {
    type Target = Table<ServerGroupId, ServerGroup>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl ServerGroups {
    /// One project's, oldest first.
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<ServerGroup>> {
        let first = (*project, Timestamp(i64::MIN), ServerGroupId(uuid::Uuid::nil()));
        let last = (*project, Timestamp(i64::MAX), ServerGroupId(uuid::Uuid::max()));
        self.by_project.range(first..=last).filter_map(|(_, _, id)| self.all.get(id))
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &ServerGroupEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let groups = &mut cloud.server_groups;
    match event {
        ServerGroupEvent::ServerGroupCreated { id, project, user, name, policy, max_server_per_host } => {
            groups.by_project.insert((*project, stamp.at, *id));
            groups.all.add(
                *id,
                ServerGroup {
                    id: *id,
                    project: *project,
                    user: *user,
                    name: name.clone(),
                    policy: *policy,
                    max_server_per_host: *max_server_per_host,
                    created_at: stamp.at,
                },
            )
        }
        ServerGroupEvent::ServerGroupDeleted { id } => {
            let group = groups.all.remove(id)?;
            groups.by_project.remove(&(group.project, group.created_at, *id));
            cloud.end_of_stream(ServerGroupEvent::KIND, id.0);
            Ok(())
        }
    }
}
