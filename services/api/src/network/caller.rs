//! Who may say what: Neutron's rules on attributes, and whose a new thing is.

use super::attrs::Text;
use crate::frame::{Ctx, Fault};
use strata_conductor::Command;
use strata_conductor::decide::instance::PortSeed;
use strata_conductor::decide::network::Scope;
use strata_conductor::decide::security_group::DefaultGroupIds;
use strata_events::port::MacAddress;
use strata_events::{PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId};
use strata_writer::Done;

impl Ctx {
    /// Whose networks this caller may name.
    pub(super) fn network_scope(&self) -> Scope {
        match self.caller.as_ref().and_then(|c| c.project()) {
            _ if self.is_admin() => Scope::All,
            Some(project) => Scope::Project(project),
            // A token without a project sees what everyone sees.
            None => Scope::Project(ProjectId(uuid::Uuid::nil())),
        }
    }
    /// The project that a new thing is for: the caller's, or the one that an admin names.
    pub(super) fn owner_of_new(&self, tenant: Option<&Text<255>>, project: Option<&Text<255>>) -> Result<ProjectId, Fault> {
        if let (Some(Text(a)), Some(Text(b))) = (tenant, project)
            && a != b
        {
            return Err(Fault::bad_request("'project_id' and 'tenant_id' do not match"));
        }
        let named = tenant.or(project).filter(|t| !t.0.is_empty());
        let own = self.caller()?.project();
        match named {
            Some(Text(named)) => {
                let named: ProjectId = named.parse().map_err(|_| {
                    Fault::bad_request(format!("Invalid input for project_id. Reason: '{named}' is not the id of a project."))
                })?;
                if own != Some(named) && !self.is_admin() {
                    return Err(Fault::bad_request(
                        "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges",
                    ));
                }
                Ok(named)
            }
            None => own.ok_or_else(|| {
                Fault::bad_request("The token is not scoped to a project, so project_id must be given.").with_kind("HTTPBadRequest")
            }),
        }
    }
    /// Admits to changing a thing that the caller can see.
    pub(super) fn may_change(&self, project: &ProjectId, rule: &str) -> Result<(), Fault> {
        if self.owns(project) { Ok(()) } else { Err(denied(rule, &[])) }
    }
    /// The revision that an `If-Match: revision_number=N` names.
    pub(super) fn wanted_revision(&self) -> Result<Option<u32>, Fault> {
        let Some(text) = self.header("if-match") else { return Ok(None) };
        let number = text.trim().trim_matches('"').strip_prefix("revision_number=").and_then(|n| n.trim_matches('"').parse().ok());
        number.map(Some).ok_or_else(|| Fault::bad_request(format!("Bad If-Match header '{text}': revision_number=<number> is expected.")))
    }
    /// Runs a command; a stale revision is 412, as the header that names it demands.
    pub(super) async fn carry_out(&self, command: impl Command) -> Result<Done, Fault> {
        self.run(command).await.map_err(|f| if f.kind == "RevisionNumberConstraintFailed" { Fault { status: 412, ..f } } else { f })
    }
}

/// A refusal in the words of Neutron's policy: the call's rule and those of the attributes that were refused.
pub fn denied(rule: &str, attributes: &[&str]) -> Fault {
    let mut text = format!("rule:{rule}");
    for attribute in attributes {
        text = format!("({text} and rule:{rule}:{attribute})");
    }
    Fault::forbidden(format!("{text} is disallowed by policy")).with_kind("PolicyNotAuthorized")
}

/// Ids for the default group that may have to be made along with something.
pub fn default_group_ids() -> DefaultGroupIds {
    DefaultGroupIds {
        group: SecurityGroupId(crate::frame::new_uuid()),
        rules: [(); 4].map(|()| SecurityGroupRuleId(crate::frame::new_uuid())),
    }
}

/// A random MAC address with OpenStack's prefix.
pub fn random_mac() -> MacAddress {
    let bytes = crate::frame::new_uuid().into_bytes();
    MacAddress([0xfa, 0x16, 0x3e, bytes[0], bytes[1], bytes[2]])
}

/// What a port that may have to be made along with something becomes.
pub fn port_seed() -> PortSeed {
    PortSeed { id: PortId(crate::frame::new_uuid()), mac: random_mac() }
}
