//! Access rules of application credentials. Invariant: a user has one rule of each (service, method, path).

use super::{CannotApply, Cloud, Stamp, Table};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::access_rule::AccessRuleEvent;
use strata_events::{AccessRuleId, UserId};

/// Calls that an application credential may be used for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessRule {
    pub id: AccessRuleId,
    pub user: UserId,
    pub service: String,
    pub method: String,
    pub path: String,
}

/// The live rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessRules {
    all: Table<AccessRuleId, AccessRule>,
    by_user: OrdMap<(UserId, String, String, String), AccessRuleId>,
}

impl std::ops::Deref for AccessRules {
    type Target = Table<AccessRuleId, AccessRule>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl AccessRules {
    pub fn of(&self, user: &UserId) -> impl Iterator<Item = &Arc<AccessRule>> {
        let first = (*user, String::new(), String::new(), String::new());
        self.by_user.range(first..).take_while(move |(k, _)| k.0 == *user).filter_map(|(_, id)| self.all.get(id))
    }
    /// The user's rule for just these calls.
    pub fn like(&self, user: &UserId, service: &str, method: &str, path: &str) -> Option<AccessRuleId> {
        self.by_user.get(&(*user, service.to_owned(), method.to_owned(), path.to_owned())).copied()
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &AccessRuleEvent, _: &Stamp<'_>) -> Result<(), CannotApply> {
    let rules = &mut cloud.access_rules;
    match event {
        AccessRuleEvent::AccessRuleCreated { id, user, service, method, path } => {
            if rules.by_user.insert((*user, service.clone(), method.clone(), path.clone()), *id).is_some() {
                return Err(CannotApply::because("the user has this rule already"));
            }
            let rule = AccessRule { id: *id, user: *user, service: service.clone(), method: method.clone(), path: path.clone() };
            rules.all.add(*id, rule)
        }
        AccessRuleEvent::AccessRuleDeleted { id } => {
            let rule = rules.all.remove(id)?;
            rules.by_user.remove(&(rule.user, rule.service.clone(), rule.method.clone(), rule.path.clone()));
            cloud.end_of_stream(AccessRuleEvent::KIND, id.0);
            Ok(())
        }
    }
}
