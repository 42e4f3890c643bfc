//! What may be asked of a policy.

use super::identity::not_found;
use crate::{Command, Context, Decision, events};
use serde_json::{Map, Value};
use strata_events::PolicyId;
use strata_events::policy::PolicyEvent;
use strata_projections::Cloud;

/// Keeps a rule set.
#[derive(Debug, Clone)]
pub struct CreatePolicy {
    pub id: PolicyId,
    pub blob: String,
    pub kind: String,
    pub extra: Map<String, Value>,
}

impl Command for CreatePolicy {
    fn decide(&self, _: &Cloud, _: &Context) -> Decision {
        let Self { id, blob, kind, extra } = self.clone();
        Ok(events![PolicyEvent::PolicyCreated { id, blob, kind, extra }])
    }
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdatePolicy {
    pub id: PolicyId,
    pub blob: Option<String>,
    pub kind: Option<String>,
    pub extra: Map<String, Value>,
}

impl Command for UpdatePolicy {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let Some(policy) = cloud.policies.get(&self.id) else { return Err(not_found("policy", self.id)) };
        let blob = self.blob.clone().filter(|blob| *blob != policy.blob);
        let kind = self.kind.clone().filter(|kind| *kind != policy.kind);
        let mut extra = self.extra.clone();
        extra.retain(|key, value| policy.extra.get(key).unwrap_or(&Value::Null) != value);
        if blob.is_none() && kind.is_none() && extra.is_empty() {
            return Ok(vec![]);
        }
        Ok(events![PolicyEvent::PolicyUpdated { id: self.id, blob, kind, extra }])
    }
}

/// Forgets a policy.
#[derive(Debug, Clone)]
pub struct DeletePolicy {
    pub id: PolicyId,
}

impl Command for DeletePolicy {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.policies.contains(&self.id) {
            true => Ok(events![PolicyEvent::PolicyDeleted { id: self.id }]),
            false => Err(not_found("policy", self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use serde_json::json;

    const ID: PolicyId = PolicyId(uuid::Uuid::from_u128(1));

    fn create() -> CreatePolicy {
        let extra = json!({"name": "n", "old": 1}).as_object().cloned().unwrap_or_default();
        CreatePolicy { id: ID, blob: "{}".into(), kind: "application/json".into(), extra }
    }

    #[test]
    fn only_what_differs_is_changed_and_null_takes_away() {
        let extra = json!({"name": "n", "old": null, "new": 2}).as_object().cloned().unwrap_or_default();
        let update = UpdatePolicy { id: ID, blob: Some("{}".into()), kind: Some("text/plain".into()), extra };
        let cloud = given([]).and(create()).and(update.clone()).cloud;
        let policy = cloud.policies.get(&ID).expect("it is there");
        assert_eq!((policy.blob.as_str(), policy.kind.as_str()), ("{}", "text/plain"));
        assert_eq!(Value::Object(policy.extra.clone()), json!({"name": "n", "new": 2}));
        assert_eq!(crate::testing::on(cloud).when(update).outcome, Ok(vec![]));
    }

    #[test]
    fn what_is_not_there_is_neither_changed_nor_deleted() {
        let update = UpdatePolicy { id: ID, blob: None, kind: None, extra: Map::new() };
        assert!(given([]).when(update).outcome.is_err());
        assert!(given([]).when(DeletePolicy { id: ID }).outcome.is_err());
        assert!(given([]).and(create()).and(DeletePolicy { id: ID }).cloud.policies.is_empty());
    }
}
