//! Projects over HTTP. Source: identity api-ref, "Projects". A domain is also shown as a project with `is_domain`, as Keystone
//! keeps it.

use super::common::{Fields, ensure, link, list, listed, may_manage, may_read, missing, path_id, with_extra};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule, Who};
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::domain::{CreateDomain, DeleteDomain, UpdateDomain};
use strata_conductor::decide::project::{CreateProject, DeleteProject, UpdateProject};
use strata_events::{DomainId, ProjectId};
use strata_projections::cloud::domain::Domain;
use strata_projections::cloud::project::Project;

const READ: &[Who] = &[Who::Admin, Who::SystemReader, Who::DomainReader];
const MANAGE: &[Who] = &[Who::Admin, Who::DomainManager];

pub fn routes(r: &mut Routes) {
    r.get("/v3/projects", index, Rule::of("identity:list_projects", READ));
    r.post("/v3/projects", create, Rule::of("identity:create_project", MANAGE));
    r.get("/v3/projects/{project_id}", show, Rule::token("identity:get_project"));
    r.patch("/v3/projects/{project_id}", update, Rule::of("identity:update_project", MANAGE));
    r.delete("/v3/projects/{project_id}", delete, Rule::of("identity:delete_project", MANAGE));
}

pub fn view(ctx: &Ctx, project: &Project) -> Value {
    let parent = project.parent.map_or_else(|| project.domain.to_string(), |p| p.to_string());
    let view = json!({
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": parent,
        "is_domain": false,
        "tags": project.tags,
        "options": project.options,
        "links": link(ctx, format_args!("projects/{}", project.id)),
    });
    with_extra(view, &project.extra)
}

fn domain_view(ctx: &Ctx, domain: &Domain) -> Value {
    let view = json!({
        "id": domain.id,
        "name": domain.name,
        "domain_id": null,
        "description": domain.description,
        "enabled": domain.enabled,
        "parent_id": null,
        "is_domain": true,
        "tags": domain.tags,
        "options": domain.options,
        "links": link(ctx, format_args!("projects/{}", domain.id)),
    });
    with_extra(view, &domain.extra)
}

async fn index(ctx: Ctx) -> Reply {
    let filters = ["name", "enabled", "domain_id", "parent_id"];
    if ctx.query.flag("is_domain")?.unwrap_or(false) {
        let seen = ctx.cloud.domains.values().filter(|d| listed(&ctx, Some(d.id)));
        return list(&ctx, "projects", seen.map(|d| domain_view(&ctx, d)), &filters[..2]);
    }
    let tags = |key: &str| -> Option<Vec<String>> { ctx.query.get(key).map(|v| v.split(',').map(str::to_owned).collect()) };
    let (all, any) = (tags("tags"), tags("tags-any"));
    let (not_all, not_any) = (tags("not-tags"), tags("not-tags-any"));
    let tagged = |p: &Project| {
        let has = |t: &String| p.tags.contains(t);
        all.as_ref().is_none_or(|t| t.iter().all(has))
            && any.as_ref().is_none_or(|t| t.iter().any(has))
            && not_all.as_ref().is_none_or(|t| !t.iter().all(has))
            && not_any.as_ref().is_none_or(|t| !t.iter().any(has))
    };
    let seen = ctx.cloud.projects.values().filter(|p| listed(&ctx, Some(p.domain)) && tagged(p));
    list(&ctx, "projects", seen.map(|p| view(&ctx, p)), &filters)
}

async fn create(ctx: Ctx) -> Reply {
    let mut ask = Fields::of(&ctx, "project")?;
    let name = ask.needed_name(64)?;
    let domain: Option<DomainId> = ask.id("domain_id", "domain")?.flatten();
    let parent = ask.text("parent_id")?;
    if ask.flag("is_domain")?.unwrap_or(false) {
        return create_domain(ctx, name, ask).await;
    }
    // A parent may be a project, or the domain itself.
    let above = parent.as_ref().and_then(|p| p.parse::<ProjectId>().ok()).and_then(|p| ctx.cloud.projects.get(&p));
    let top = parent.as_ref().and_then(|p| p.parse::<DomainId>().ok()).filter(|d| ctx.cloud.domains.contains(d));
    if parent.is_some() && above.is_none() && top.is_none() {
        return Err(missing(&ctx, "project", parent.unwrap_or_default()));
    }
    let own = ctx.caller()?;
    let default = own.domain().unwrap_or(own.user_domain);
    let domain = domain.or(above.map(|p| p.domain)).or(top).unwrap_or(default);
    if above.is_none() && top.is_some_and(|t| t != domain) {
        return Err(Fault::bad_request("Invalid input for field 'parent_id': the parent is another domain than domain_id."));
    }
    ensure(&ctx, may_manage(&ctx, Some(domain)))?;
    let id = ProjectId(crate::frame::new_uuid());
    let command = CreateProject {
        id,
        domain,
        parent: above.map(|p| p.id),
        name,
        description: ask.text("description")?.unwrap_or_default(),
        enabled: ask.flag("enabled")?.unwrap_or(true),
        tags: ask.tags()?.unwrap_or_default(),
        options: ask.options(&["immutable"])?.unwrap_or_default(),
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let project = done.cloud.projects.get(&id).ok_or_else(|| missing(&ctx, "project", id))?;
    Ok(Answer::created(&json!({ "project": view(&ctx, project) })))
}

/// A project that acts as a domain is a domain.
async fn create_domain(ctx: Ctx, name: String, mut ask: Fields) -> Reply {
    ensure(&ctx, ctx.is_admin())?;
    let id = crate::frame::new_uuid();
    let command = CreateDomain {
        id,
        name,
        description: ask.text("description")?.unwrap_or_default(),
        enabled: ask.flag("enabled")?.unwrap_or(true),
        tags: ask.tags()?.unwrap_or_default(),
        options: ask.options(&["immutable"])?.unwrap_or_default(),
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let domain = done.cloud.domains.get(&DomainId(id)).ok_or_else(|| missing(&ctx, "project", id))?;
    Ok(Answer::created(&json!({ "project": domain_view(&ctx, domain) })))
}

/// The domain that the path names as a project, if it does.
fn as_domain(ctx: &Ctx) -> Option<&Arc<Domain>> {
    ctx.param("project_id").parse::<DomainId>().ok().and_then(|d| ctx.cloud.domains.get(&d))
}

async fn update_domain(ctx: Ctx, id: DomainId) -> Reply {
    ensure(&ctx, ctx.is_admin())?;
    let mut ask = Fields::of(&ctx, "project")?;
    for fixed in ["domain_id", "parent_id", "is_domain"] {
        ask.0.remove(fixed);
    }
    let command = UpdateDomain {
        id,
        name: ask.name(64)?,
        description: ask.nullable("description")?.map(Option::unwrap_or_default),
        enabled: ask.flag("enabled")?,
        tags: ask.tags()?,
        options: ask.options(&["immutable"])?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let domain = done.cloud.domains.get(&id).ok_or_else(|| missing(&ctx, "project", id))?;
    Ok(Answer::ok(&json!({ "project": domain_view(&ctx, domain) })))
}

/// The project in the path, if the caller may see it.
pub fn visible(ctx: &Ctx) -> Result<&Arc<Project>, Fault> {
    let id = ctx.param("project_id").parse::<ProjectId>().ok();
    let found = id.and_then(|id| ctx.cloud.projects.get(&id));
    let own = id.is_some() && ctx.caller()?.project() == id;
    ensure(ctx, own || may_read(ctx, found.map(|p| p.domain)))?;
    found.ok_or_else(|| missing(ctx, "project", ctx.param("project_id")))
}

/// The project in the path, if the caller may change it.
pub fn manageable(ctx: &Ctx) -> Result<&Arc<Project>, Fault> {
    let found = ctx.param("project_id").parse::<ProjectId>().ok().and_then(|id| ctx.cloud.projects.get(&id));
    ensure(ctx, may_manage(ctx, found.map(|p| p.domain)))?;
    found.ok_or_else(|| missing(ctx, "project", ctx.param("project_id")))
}

async fn show(ctx: Ctx) -> Reply {
    if let Some(domain) = as_domain(&ctx) {
        ensure(&ctx, may_read(&ctx, Some(domain.id)))?;
        return Ok(Answer::ok(&json!({ "project": domain_view(&ctx, domain) })));
    }
    let project = visible(&ctx)?;
    let mut answer = view(&ctx, project);
    let wrap = |p: &Arc<Project>| json!({ "project": view(&ctx, p) });
    // As in Keystone, only those are listed on which the user has a role.
    let mine = super::auth::projects_of(&ctx.cloud, ctx.caller()?.user);
    if ctx.query.has("parents_as_list") {
        answer["parents"] = ctx.cloud.projects.ancestors(&project.id).filter(|p| mine.contains(&p.id)).map(wrap).collect();
    } else if ctx.query.has("parents_as_ids") {
        let top = json!({ project.domain.to_string(): null });
        let above: Vec<_> = ctx.cloud.projects.ancestors(&project.id).collect();
        answer["parents"] = above.iter().rev().fold(top, |inner, p| json!({ p.id.to_string(): inner }));
    }
    if ctx.query.has("subtree_as_list") {
        answer["subtree"] = ctx.cloud.projects.subtree(&project.id).iter().filter(|p| mine.contains(&p.id)).map(wrap).collect();
    } else if ctx.query.has("subtree_as_ids") {
        answer["subtree"] = subtree(&ctx, &project.id);
    }
    Ok(Answer::ok(&json!({ "project": answer })))
}

/// `{"child": {"grandchild": null}}`; the tree is at most five levels deep.
fn subtree(ctx: &Ctx, project: &ProjectId) -> Value {
    let below: serde_json::Map<String, Value> =
        ctx.cloud.projects.children(project).map(|p| (p.id.to_string(), subtree(ctx, &p.id))).collect();
    if below.is_empty() { Value::Null } else { Value::Object(below) }
}

async fn update(ctx: Ctx) -> Reply {
    if let Some(domain) = as_domain(&ctx).map(|d| d.id) {
        return update_domain(ctx, domain).await;
    }
    let project = manageable(&ctx)?.clone();
    let mut ask = Fields::of(&ctx, "project")?;
    if let Some(domain) = ask.id::<DomainId>("domain_id", "domain")?
        && domain != Some(project.domain)
    {
        return Err(Fault::bad_request("Update of `domain_id` is not allowed."));
    }
    if let Some(parent) = ask.nullable("parent_id")?
        && parent.as_deref() != view(&ctx, &project)["parent_id"].as_str()
    {
        return Err(Fault::forbidden("You are not authorized to perform the requested action: Update of `parent_id` is not allowed."));
    }
    if ask.flag("is_domain")? == Some(true) {
        return Err(Fault::bad_request("Update of `is_domain` is not allowed."));
    }
    let command = UpdateProject {
        id: project.id,
        name: ask.name(64)?,
        description: ask.nullable("description")?.map(Option::unwrap_or_default),
        enabled: ask.flag("enabled")?,
        tags: ask.tags()?,
        options: ask.options(&["immutable"])?,
        extra: ask.extra()?,
    };
    let done = ctx.run(command).await?;
    let project = done.cloud.projects.get(&project.id).ok_or_else(|| missing(&ctx, "project", project.id))?;
    Ok(Answer::ok(&json!({ "project": view(&ctx, project) })))
}

async fn delete(ctx: Ctx) -> Reply {
    if let Some(id) = as_domain(&ctx).map(|d| d.id) {
        ensure(&ctx, ctx.is_admin())?;
        ctx.run(DeleteDomain { id }).await?;
        return Ok(Answer::no_content());
    }
    let id = manageable(&ctx)?.id;
    ctx.run(DeleteProject { id }).await?;
    Ok(Answer::no_content())
}

/// For grants and assignments, which check the id only when the caller may know.
pub fn path_project(ctx: &Ctx) -> Result<ProjectId, Fault> {
    path_id(ctx, "project_id", "project")
}
