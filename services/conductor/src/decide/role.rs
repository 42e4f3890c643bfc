//! What may be asked of a role. The rule: no role implies admin, and implications form no circle.

use super::identity::{duplicate, immutable, not_found};
use crate::{Command, Context, Decision, Refusal, events};
use serde_json::{Map, Value};
use strata_events::role::RoleEvent;
use strata_events::{DomainId, RoleId};
use strata_projections::Cloud;

/// Makes a role, global or of one domain.
#[derive(Debug, Clone)]
pub struct CreateRole {
    pub id: RoleId,
    pub name: String,
    pub domain: Option<DomainId>,
    pub description: Option<String>,
    pub options: Map<String, Value>,
}

impl Command for CreateRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if let Some(domain) = &self.domain
            && !cloud.domains.contains(domain)
        {
            return Err(not_found("domain", domain));
        }
        if cloud.roles.contains(&self.id) || cloud.roles.by_name(self.domain, &self.name).is_some() {
            return Err(duplicate("role", format_args!("Duplicate entry found with name {}", self.name)));
        }
        Ok(events![RoleEvent::RoleCreated {
            id: self.id,
            name: self.name.clone(),
            domain: self.domain,
            description: self.description.clone(),
            options: self.options.clone(),
        }])
    }
}

/// Changes what is named.
#[derive(Debug, Clone)]
pub struct UpdateRole {
    pub id: RoleId,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub options: Option<Map<String, Value>>,
}

impl Command for UpdateRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let role = cloud.roles.get(&self.id).ok_or_else(|| not_found("role", self.id))?;
        immutable("role", self.id, &role.options, self.options.as_ref())?;
        let name = self.name.clone().filter(|n| *n != role.name);
        if let Some(name) = &name
            && cloud.roles.by_name(role.domain, name).is_some()
        {
            return Err(duplicate("role", format_args!("Duplicate entry found with name {name}")));
        }
        Ok(events![RoleEvent::RoleUpdated { id: self.id, name, description: self.description.clone(), options: self.options.clone() }])
    }
}

/// Deletes a role wherever it was given.
#[derive(Debug, Clone)]
pub struct DeleteRole {
    pub id: RoleId,
}

impl Command for DeleteRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let role = cloud.roles.get(&self.id).ok_or_else(|| not_found("role", self.id))?;
        immutable("role", self.id, &role.options, None)?;
        Ok(events![RoleEvent::RoleDeleted { id: self.id }])
    }
}

/// Whoever has `role` shall have `implied` too.
#[derive(Debug, Clone)]
pub struct ImplyRole {
    pub role: RoleId,
    pub implied: RoleId,
}

impl Command for ImplyRole {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let prior = cloud.roles.get(&self.role).ok_or_else(|| not_found("role", self.role))?;
        let implied = cloud.roles.get(&self.implied).ok_or_else(|| not_found("role", self.implied))?;
        if implied.domain.is_none() && implied.name == "admin" {
            return Err(Refusal::forbidden(format!("{} cannot be an implied roles.", self.implied)));
        }
        if prior.domain.is_none() && implied.domain.is_some() {
            return Err(Refusal::forbidden(format!(
                "{} is a role of a domain and cannot be an implied roles of a global one.",
                self.implied
            )));
        }
        if cloud.roles.implies(&self.role, &self.implied) {
            return Ok(vec![]);
        }
        if cloud.roles.closure([self.implied]).contains(&self.role) {
            return Err(Refusal::invalid("The implication would go round in a circle: the implied role already implies the other one."));
        }
        Ok(events![RoleEvent::RoleImplied { id: self.role, implies: self.implied }])
    }
}

/// Ends an implication.
#[derive(Debug, Clone)]
pub struct RemoveImplication {
    pub role: RoleId,
    pub implied: RoleId,
}

impl Command for RemoveImplication {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.roles.implies(&self.role, &self.implied) {
            true => Ok(events![RoleEvent::RoleImplicationRemoved { id: self.role, implies: self.implied }]),
            false => Err(not_found("implied role", format_args!("{} implies {}", self.role, self.implied))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::bootstrap::Bootstrap;
    use crate::testing::{Given, given};
    use crate::{Class, Command};
    use strata_events::Timestamp;
    use uuid::Uuid;

    fn first() -> Given {
        let seed = Uuid::from_u128(9);
        let first = Bootstrap { seed, region: "R".into(), admin_hash: String::new(), demo_hash: String::new() };
        Given { cloud: given([]).when(first).accepted(), now: Timestamp(1) }
    }
    fn id(given: &Given, name: &str) -> RoleId {
        given.cloud.roles.by_name(None, name).map(|r| r.id).unwrap_or_else(|| panic!("no role {name}"))
    }
    fn imply(given: &Given, role: &str, implied: &str) -> impl Command + use<> {
        ImplyRole { role: id(given, role), implied: id(given, implied) }
    }

    #[test]
    fn nothing_implies_admin() {
        let given = first();
        let ask = imply(&given, "service", "admin");
        given.when(ask).refused(Class::Forbidden, "cannot be an implied role");
    }

    #[test]
    fn implications_form_no_circle() {
        let given = first();
        let ask = imply(&given, "reader", "manager");
        given.when(ask).refused(Class::Invalid, "circle");
    }

    #[test]
    fn a_second_implication_changes_nothing() {
        let given = first();
        let ask = imply(&given, "manager", "member");
        given.when(ask).then([]);
    }

    #[test]
    fn a_name_is_taken_once_among_the_global_roles() {
        let ask = CreateRole { id: RoleId(Uuid::from_u128(1)), name: "admin".into(), domain: None, description: None, options: Map::new() };
        first().when(ask).refused(Class::Conflict, "Duplicate entry");
    }
}
