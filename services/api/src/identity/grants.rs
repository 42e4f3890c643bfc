//! Giving, checking and taking roles over HTTP: on projects, domains and the system, directly or inherited, to users and
//! groups. Source: identity api-ref, "Roles" and "OS-INHERIT".

use super::common::{ensure, list, may_manage, may_read, path_id};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use strata_conductor::decide::assignment::{GrantRole, RevokeRole, missing};
use strata_events::DomainId;
use strata_events::assignment::{Assignee, Target};
use strata_projections::cloud::assignment::Grant;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainReader];
const MANAGE: &[Who] = &[Who::Admin, Who::DomainManager];

pub fn routes(r: &mut Routes) {
    for assignee in ["users/{user_id}", "groups/{group_id}"] {
        for (place, tail) in [
            ("projects/{project_id}", ""),
            ("domains/{domain_id}", ""),
            ("OS-INHERIT/projects/{project_id}", "/inherited_to_projects"),
            ("OS-INHERIT/domains/{domain_id}", "/inherited_to_projects"),
        ] {
            let all = format!("/v3/{place}/{assignee}/roles{tail}");
            let one = format!("/v3/{place}/{assignee}/roles/{{role_id}}{tail}");
            r.get(&all, index, Rule::of("identity:list_grants", READ));
            r.put(&one, grant, Rule::of("identity:create_grant", MANAGE));
            r.get(&one, check, Rule::of("identity:check_grant", READ));
            r.delete(&one, revoke, Rule::of("identity:revoke_grant", MANAGE));
        }
        let all = format!("/v3/system/{assignee}/roles");
        let one = format!("{all}/{{role_id}}");
        let read = &[Who::Admin, Who::SystemReader];
        r.get(&all, index, Rule::of("identity:list_system_grants", read));
        r.put(&one, grant, Rule::admin("identity:create_system_grant"));
        r.get(&one, check, Rule::of("identity:check_system_grant", read));
        r.delete(&one, revoke, Rule::admin("identity:revoke_system_grant"));
    }
}

/// Who, where and how, as the path says; with the domains that both belong to.
struct Asked {
    assignee: Assignee,
    target: Target,
    inherited: bool,
    domains: [Option<DomainId>; 2],
}

impl Asked {
    fn of(ctx: &Ctx) -> Result<Self, Fault> {
        let has = |name: &str| ctx.params.get(name).is_some();
        let cloud = &ctx.cloud;
        let (assignee, of_assignee) = if has("user_id") {
            let id = path_id(ctx, "user_id", "user")?;
            (Assignee::User(id), cloud.users.get(&id).map(|u| u.domain))
        } else {
            let id = path_id(ctx, "group_id", "group")?;
            (Assignee::Group(id), cloud.groups.get(&id).map(|g| g.domain))
        };
        let system = !has("project_id") && !has("domain_id");
        if system {
            super::common::unbound(ctx)?;
        }
        let (target, of_target) = if has("project_id") {
            let id = super::projects::path_project(ctx)?;
            (Target::Project(id), cloud.projects.get(&id).map(|p| p.domain))
        } else if has("domain_id") {
            let id = path_id(ctx, "domain_id", "domain")?;
            (Target::Domain(id), Some(id))
        } else {
            (Target::System, None)
        };
        let inherited = ctx.route.path.ends_with("/inherited_to_projects");
        Ok(Self { assignee, target, inherited, domains: [of_assignee, of_target] })
    }
    fn grant(&self, ctx: &Ctx) -> Result<Grant, Fault> {
        let role = path_id(ctx, "role_id", "role")?;
        Ok(Grant { assignee: self.assignee, target: self.target, inherited: self.inherited, role })
    }
    /// A domain's manager gives and takes only within the domain, and no role that rules more than it.
    fn manageable(&self, ctx: &Ctx, grant: &Grant) -> Result<(), Fault> {
        let role = ctx.cloud.roles.get(&grant.role);
        let tame = ctx.is_admin()
            || role.is_some_and(|r| match r.domain {
                None => super::roles::MANAGED.contains(&r.name.as_str()),
                Some(domain) => Some(domain) == self.domains[1],
            });
        ensure(ctx, tame && self.domains.iter().all(|d| may_manage(ctx, *d)))
    }
}

async fn index(ctx: Ctx) -> Reply {
    let asked = Asked::of(&ctx)?;
    ensure(&ctx, asked.domains.iter().all(|d| may_read(&ctx, *d)))?;
    exist(&ctx, &asked)?;
    let roles = ctx.cloud.assignments.at(asked.assignee, asked.target, asked.inherited).filter_map(|id| ctx.cloud.roles.get(&id));
    list(&ctx, "roles", roles.map(|r| super::roles::view(&ctx, r)), &["name"])
}

/// A list about nobody or nowhere is not found, rather than empty.
fn exist(ctx: &Ctx, asked: &Asked) -> Result<(), Fault> {
    let cloud = &ctx.cloud;
    let (noun, id, there) = match asked.assignee {
        Assignee::User(id) => ("user", id.to_string(), cloud.users.contains(&id)),
        Assignee::Group(id) => ("group", id.to_string(), cloud.groups.contains(&id)),
    };
    if !there {
        return Err(super::common::missing(ctx, noun, id));
    }
    match asked.target {
        Target::Project(id) if !cloud.projects.contains(&id) => Err(super::common::missing(ctx, "project", id)),
        Target::Domain(id) if !cloud.domains.contains(&id) => Err(super::common::missing(ctx, "domain", id)),
        _ => Ok(()),
    }
}

async fn grant(ctx: Ctx) -> Reply {
    let asked = Asked::of(&ctx)?;
    let grant = asked.grant(&ctx)?;
    asked.manageable(&ctx, &grant)?;
    ctx.run(GrantRole(grant)).await?;
    Ok(Answer::no_content())
}

async fn check(ctx: Ctx) -> Reply {
    let asked = Asked::of(&ctx)?;
    ensure(&ctx, asked.domains.iter().all(|d| may_read(&ctx, *d)))?;
    let grant = asked.grant(&ctx)?;
    match ctx.cloud.assignments.contains(&grant) {
        true => Ok(Answer::no_content()),
        false => Err(Fault::refused(ctx.service(), missing(&grant))),
    }
}

async fn revoke(ctx: Ctx) -> Reply {
    let asked = Asked::of(&ctx)?;
    let grant = asked.grant(&ctx)?;
    asked.manageable(&ctx, &grant)?;
    ctx.run(RevokeRole(grant)).await?;
    Ok(Answer::no_content())
}
