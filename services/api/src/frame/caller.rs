//! Who is calling, as their token says and the cloud's state confirms at this moment.

use strata_events::{ApplicationCredentialId, DomainId, ProjectId, RoleId, Timestamp, UserId};

/// Where a token's roles hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Unscoped,
    Project { id: ProjectId, name: String, domain: DomainId, domain_name: String },
    Domain { id: DomainId, name: String },
    System,
}

/// The authenticated caller of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub user_name: String,
    pub user_domain: DomainId,
    pub user_domain_name: String,
    pub scope: Scope,
    /// Roles that hold in the scope now, implied ones included, sorted by name.
    pub roles: Vec<(RoleId, String)>,
    /// How the token was got: `password`, `token`, `application_credential`.
    pub methods: Vec<String>,
    /// This token's audit id, and the chain's when it was got by another token.
    pub audit_ids: Vec<String>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub application_credential: Option<ApplicationCredentialId>,
}

impl Caller {
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|(_, n)| n == name)
    }
    /// The cloud's administrator: role admin, in whatever scope (OpenStack's `admin_required`).
    pub fn is_admin(&self) -> bool {
        self.has_role("admin")
    }
    pub fn is_system(&self) -> bool {
        self.scope == Scope::System
    }
    pub fn project(&self) -> Option<ProjectId> {
        match &self.scope {
            Scope::Project { id, .. } => Some(*id),
            _ => None,
        }
    }
    pub fn domain(&self) -> Option<DomainId> {
        match &self.scope {
            Scope::Domain { id, .. } => Some(*id),
            _ => None,
        }
    }
}
