//! Authorization: every route names its rule, and a rule is a list of who may call. The table can be walked by a test.
//!
//! A rule admits to the call; which things the caller then sees is decided with [`super::Ctx::sees`] and
//! [`super::Ctx::owns`]: another project's thing is not found, never forbidden.

use super::Caller;

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// With or without a token.
    Anyone,
    /// Any valid token, scoped or not.
    Token,
    /// Role admin in any scope.
    Admin,
    /// Role reader on the whole system.
    SystemReader,
    /// Role reader on a domain.
    DomainReader,
    /// Role manager on a domain.
    DomainManager,
    /// Role reader (or what implies it) on a project.
    ProjectReader,
    /// Role member on a project.
    ProjectMember,
    /// Role manager on a project.
    ProjectManager,
    /// Role service, as other services have.
    Service,
}

impl Who {
    pub fn matches(self, caller: &Caller) -> bool {
        match self {
            Who::Anyone | Who::Token => true,
            Who::Admin => caller.is_admin(),
            Who::SystemReader => caller.is_system() && caller.has_role("reader"),
            Who::DomainReader => caller.domain().is_some() && caller.has_role("reader"),
            Who::DomainManager => caller.domain().is_some() && caller.has_role("manager"),
            Who::ProjectReader => caller.project().is_some() && caller.has_role("reader"),
            Who::ProjectMember => caller.project().is_some() && caller.has_role("member"),
            Who::ProjectManager => caller.project().is_some() && caller.has_role("manager"),
            Who::Service => caller.has_role("service"),
        }
    }
}

/// The rule of a route: OpenStack's policy name, and who passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    pub who: &'static [Who],
}

impl Rule {
    /// Anyone, without a token: discovery and logging in.
    pub const fn public(name: &'static str) -> Self {
        Self { name, who: &[Who::Anyone] }
    }
    /// Whoever has a valid token.
    pub const fn token(name: &'static str) -> Self {
        Self { name, who: &[Who::Token] }
    }
    /// Readers of their project, and admins.
    pub const fn reader(name: &'static str) -> Self {
        Self { name, who: &[Who::Admin, Who::ProjectReader] }
    }
    /// Members of their project, and admins.
    pub const fn member(name: &'static str) -> Self {
        Self { name, who: &[Who::Admin, Who::ProjectMember] }
    }
    /// Managers of their project, and admins.
    pub const fn manager(name: &'static str) -> Self {
        Self { name, who: &[Who::Admin, Who::ProjectManager] }
    }
    /// Admins.
    pub const fn admin(name: &'static str) -> Self {
        Self { name, who: &[Who::Admin] }
    }
    /// Any other list.
    pub const fn of(name: &'static str, who: &'static [Who]) -> Self {
        Self { name, who }
    }
    /// Whether it needs no token.
    pub fn is_public(&self) -> bool {
        self.who.contains(&Who::Anyone)
    }
    pub fn admits(&self, caller: &Caller) -> bool {
        self.who.iter().any(|w| w.matches(caller))
    }
}
