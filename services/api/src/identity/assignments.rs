//! Lists of role assignments over HTTP, as given or in their effect. Source: identity api-ref, "Role assignments".

use super::common::{list_links, listed, root};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strata_events::assignment::{Assignee, Target};
use strata_events::{DomainId, GroupId, ProjectId, RoleId, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::assignment::Grant;

pub fn routes(r: &mut Routes) {
    let read = &[Who::Admin, Who::SystemReader, Who::DomainReader];
    r.get("/v3/role_assignments", index, Rule::of("identity:list_role_assignments", read));
}

/// One line of the answer: a grant, or what follows from one for a user.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    assignee: Assignee,
    role: RoleId,
    target: Target,
    inherited: bool,
    /// The grant that it follows from.
    from: Grant,
}

/// What the query narrows the list to. A filter with text that is no id admits nothing.
struct Wanted {
    user: Option<Option<UserId>>,
    group: Option<Option<GroupId>>,
    role: Option<Option<RoleId>>,
    projects: Option<BTreeSet<ProjectId>>,
    domain: Option<Option<DomainId>>,
    system: bool,
    inherited: bool,
}

impl Wanted {
    fn of(ctx: &Ctx) -> Result<Self, Fault> {
        fn id<T: std::str::FromStr>(ctx: &Ctx, key: &str) -> Option<Option<T>> {
            ctx.query.get(key).map(|v| v.parse().ok())
        }
        let project: Option<Option<ProjectId>> = id(ctx, "scope.project.id");
        let subtree = ctx.query.flag("include_subtree")?.unwrap_or(ctx.query.get("include_subtree") == Some(""));
        let projects = project.map(|project| {
            let below = project.filter(|_| subtree).map(|p| ctx.cloud.projects.subtree(&p)).unwrap_or_default();
            project.into_iter().chain(below.iter().map(|p| p.id)).collect()
        });
        Ok(Self {
            user: id(ctx, "user.id"),
            group: id(ctx, "group.id"),
            role: id(ctx, "role.id"),
            projects,
            domain: id(ctx, "scope.domain.id"),
            system: ctx.query.has("scope.system"),
            inherited: ctx.query.has("scope.OS-INHERIT:inherited_to"),
        })
    }
    fn admits(&self, line: &Line) -> bool {
        let assignee = match line.assignee {
            Assignee::User(id) => self.group.is_none() && self.user.is_none_or(|u| u == Some(id)),
            Assignee::Group(id) => self.user.is_none() && self.group.is_none_or(|g| g == Some(id)),
        };
        let place = match line.target {
            Target::Project(id) => self.domain.is_none() && !self.system && self.projects.as_ref().is_none_or(|p| p.contains(&id)),
            Target::Domain(id) => self.projects.is_none() && !self.system && self.domain.is_none_or(|d| d == Some(id)),
            Target::System => self.projects.is_none() && self.domain.is_none(),
        };
        assignee && place && self.role.is_none_or(|r| r == Some(line.role)) && (!self.inherited || line.inherited || line.from.inherited)
    }
}

async fn index(ctx: Ctx) -> Reply {
    let wanted = Wanted::of(&ctx)?;
    let flag = |key: &str| Ok::<_, Fault>(ctx.query.has(key) && (ctx.query.get(key) == Some("") || ctx.query.flag(key)?.unwrap_or(true)));
    let (effective, names) = (flag("effective")?, flag("include_names")?);
    if effective && wanted.group.is_some() {
        return Err(Fault::bad_request("Combining effective and group filter will always result in an empty list."));
    }
    let cloud = &ctx.cloud;
    let grants: Vec<Grant> = match (wanted.user, wanted.group) {
        (Some(Some(user)), _) => {
            let groups = cloud.groups.of_user(&user).map(Assignee::Group).filter(|_| effective);
            let all = std::iter::once(Assignee::User(user)).chain(groups);
            all.flat_map(|a| cloud.assignments.of(a)).copied().collect()
        }
        (None, Some(Some(group))) => cloud.assignments.of(Assignee::Group(group)).copied().collect(),
        (Some(None), _) | (_, Some(None)) => vec![],
        (None, None) => cloud.assignments.iter().copied().collect(),
    };
    let lines: BTreeSet<Line> = if effective {
        grants.iter().flat_map(|g| expand(cloud, g)).collect()
    } else {
        grants.iter().map(|g| Line { assignee: g.assignee, role: g.role, target: g.target, inherited: g.inherited, from: *g }).collect()
    };
    let seen = lines.iter().filter(|l| wanted.admits(l) && listed(&ctx, domain(cloud, &l.target)));
    let views: Vec<Value> = seen.map(|l| view(&ctx, l, names)).collect();
    Ok(Answer::ok(&json!({ "role_assignments": views, "links": list_links(&ctx) })))
}

fn domain(cloud: &Cloud, target: &Target) -> Option<DomainId> {
    match target {
        Target::Project(id) => cloud.projects.get(id).map(|p| p.domain),
        Target::Domain(id) => Some(*id),
        Target::System => None,
    }
}

/// What a grant means: for each member, in each place below, each implied role.
fn expand(cloud: &Cloud, grant: &Grant) -> Vec<Line> {
    let users: Vec<UserId> = match grant.assignee {
        Assignee::User(user) => vec![user],
        Assignee::Group(group) => cloud.groups.members(&group).collect(),
    };
    let places: Vec<Target> = match (grant.inherited, grant.target) {
        (false, target) => vec![target],
        (true, Target::Project(id)) => cloud.projects.subtree(&id).iter().map(|p| Target::Project(p.id)).collect(),
        (true, Target::Domain(id)) => cloud.projects.of_domain(&id).map(|p| Target::Project(p.id)).collect(),
        (true, Target::System) => vec![],
    };
    let roles = cloud.role_names(cloud.roles.closure([grant.role]));
    let mut lines = vec![];
    for user in users {
        for target in &places {
            for (role, _) in &roles {
                lines.push(Line { assignee: Assignee::User(user), role: *role, target: *target, inherited: false, from: *grant });
            }
        }
    }
    lines
}

fn view(ctx: &Ctx, line: &Line, names: bool) -> Value {
    let cloud = &ctx.cloud;
    let in_domain = |id: &DomainId| json!({ "id": id, "name": cloud.domains.get(id).map(|d| &d.name) });
    let mut role = json!({ "id": line.role });
    if let Some(found) = cloud.roles.get(&line.role).filter(|_| names) {
        role["name"] = json!(found.name);
        if let Some(domain) = &found.domain {
            role["domain"] = in_domain(domain);
        }
    }
    let mut scope = match line.target {
        Target::System => json!({ "system": { "all": true } }),
        Target::Domain(id) => match cloud.domains.get(&id).filter(|_| names) {
            Some(domain) => json!({ "domain": { "id": id, "name": domain.name } }),
            None => json!({ "domain": { "id": id } }),
        },
        Target::Project(id) => match cloud.projects.get(&id).filter(|_| names) {
            Some(project) => json!({ "project": { "id": id, "name": project.name, "domain": in_domain(&project.domain) } }),
            None => json!({ "project": { "id": id } }),
        },
    };
    if line.inherited || (line.from.inherited && line.from.target != line.target) {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    let mut view = json!({ "role": role, "scope": scope, "links": { "assignment": assignment_link(ctx, &line.from) } });
    let (key, mut who, found) = match line.assignee {
        Assignee::User(id) => ("user", json!({ "id": id }), cloud.users.get(&id).map(|u| (&u.name, u.domain))),
        Assignee::Group(id) => ("group", json!({ "id": id }), cloud.groups.get(&id).map(|g| (&g.name, g.domain))),
    };
    if let Some((name, domain)) = found.filter(|_| names) {
        who["name"] = json!(name);
        who["domain"] = in_domain(&domain);
    }
    view[key] = who;
    if let (Assignee::User(user), Assignee::Group(group)) = (line.assignee, line.from.assignee) {
        view["links"]["membership"] = json!(format!("{}/groups/{group}/users/{user}", root(ctx)));
    }
    view
}

fn assignment_link(ctx: &Ctx, grant: &Grant) -> String {
    let who = match grant.assignee {
        Assignee::User(id) => format!("users/{id}"),
        Assignee::Group(id) => format!("groups/{id}"),
    };
    let place = match grant.target {
        Target::Project(id) => format!("projects/{id}"),
        Target::Domain(id) => format!("domains/{id}"),
        Target::System => "system".to_owned(),
    };
    let (head, tail) = if grant.inherited { ("OS-INHERIT/", "/inherited_to_projects") } else { ("", "") };
    format!("{}/{head}{place}/{who}/roles/{}{tail}", root(ctx), grant.role)
}
