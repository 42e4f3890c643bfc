//! What may be asked of a project's quotas.

use crate::{Command, Context, Decision, Refusal, events};
use std::collections::BTreeMap;
use strata_events::ProjectId;
use strata_events::quota::QuotaEvent;
use strata_projections::Cloud;
use strata_projections::cloud::quota::used;

/// Sets limits; those absent stay. Names are `<service>.<resource>`, -1 is no limit.
#[derive(Debug, Clone)]
pub struct SetQuota {
    pub project: ProjectId,
    pub limits: BTreeMap<String, i64>,
    /// Refuse a limit that is already passed.
    pub check_usage: bool,
}

impl Command for SetQuota {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if let Some((name, limit)) = self.limits.iter().find(|(_, limit)| **limit < -1) {
            return Err(Refusal::invalid(format!("Quota limit {limit} for {name} must be greater than or equal to -1.")));
        }
        for (name, limit) in &self.limits {
            let now = used(cloud, &self.project, name).unwrap_or(0);
            if self.check_usage && u64::try_from(*limit).is_ok_and(|limit| limit < now) {
                let resource = name.rsplit('.').next().unwrap_or(name);
                return Err(Refusal::invalid(format!(
                    "Quota limit {limit} for {resource} must be greater than or equal to already used and reserved {now}."
                )));
            }
        }
        let changed = self.limits.iter().any(|(name, limit)| cloud.quotas.limit(&self.project, name) != *limit);
        if changed { Ok(events![QuotaEvent::QuotaSet { id: self.project, limits: self.limits.clone() }]) } else { Ok(vec![]) }
    }
}

/// Puts the limits of one service back to the defaults.
#[derive(Debug, Clone)]
pub struct ResetQuota {
    pub project: ProjectId,
    pub service: String,
}

impl Command for ResetQuota {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !cloud.quotas.projects_with(&self.service).any(|p| p == self.project) {
            return Ok(vec![]);
        }
        Ok(events![QuotaEvent::QuotaReset { id: self.project, service: self.service.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, testing::given};

    const PROJECT: ProjectId = ProjectId(uuid::Uuid::max());

    fn set(name: &str, limit: i64) -> SetQuota {
        SetQuota { project: PROJECT, limits: BTreeMap::from([(name.into(), limit)]), check_usage: true }
    }

    #[test]
    fn what_nobody_set_has_the_default() {
        let cloud = Cloud::default();
        assert_eq!(cloud.quotas.limit(&PROJECT, "compute.cores"), 20);
        assert!(cloud.quotas.admits(&PROJECT, "compute.cores", 16, 4));
        assert!(!cloud.quotas.admits(&PROJECT, "compute.cores", 17, 4));
    }

    #[test]
    fn minus_one_is_no_limit_and_reset_brings_the_default_back() {
        let cloud = given([]).when(set("network.port", -1)).accepted();
        assert!(cloud.quotas.admits(&PROJECT, "network.port", 1_000_000, 1));
        let given = crate::testing::Given { cloud, now: Default::default() };
        let cloud = given.when(ResetQuota { project: PROJECT, service: "network".into() }).accepted();
        assert_eq!(cloud.quotas.limit(&PROJECT, "network.port"), 500);
        assert_eq!(cloud.quotas, Cloud::default().quotas);
    }

    #[test]
    fn a_limit_below_minus_one_is_refused() {
        given([]).when(set("network.port", -2)).refused(Class::Invalid, "-2");
    }

    #[test]
    fn limits_for_every_project_replace_the_built_in_defaults() {
        let every = SetQuota { project: strata_projections::cloud::quota::EVERY_PROJECT, ..set("compute.cores", 64) };
        assert_eq!(given([]).when(every).accepted().quotas.limit(&PROJECT, "compute.cores"), 64);
    }
}
