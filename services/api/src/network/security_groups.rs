//! Security groups over HTTP. Source: network api-ref, "Security groups". A project's `default` group is made when it is
//! first looked for.

use super::attrs::{Flag, Name};
use super::body::{Attribute, Table, both, post, read};
use super::caller::{default_group_ids, denied};
use super::list::{At, Attr, Noun, list, many, one};
use super::security_group_rules::{RuleView, rule_view};
use super::time::Seconds;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_conductor::Together;
use strata_conductor::decide::security_group::{
    CreateSecurityGroup, DeleteSecurityGroup, EnsureDefaultGroup, SecurityGroupChanges, UpdateSecurityGroup,
};
use strata_events::{ProjectId, SecurityGroupId, SecurityGroupRuleId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::security_group::SecurityGroup;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/security-groups", index, Rule::token("get_security_group"));
    r.post("/v2.0/security-groups", create, Rule::member("create_security_group"));
    r.get("/v2.0/security-groups/{id}", show, Rule::token("get_security_group"));
    r.put("/v2.0/security-groups/{id}", update, Rule::member("update_security_group"));
    r.delete("/v2.0/security-groups/{id}", delete, Rule::member("delete_security_group"));
}

const TABLE: Table = Table { one: "security_group", many: "security_groups", required: &[], attributes: ATTRIBUTES };
const ATTRIBUTES: &[Attribute] = &[
    both("name"),
    both("description"),
    both("stateful"),
    post("tenant_id"),
    post("project_id"),
    read("id"),
    read("security_group_rules"),
    read("shared"),
    read("tags"),
    read("created_at"),
    read("updated_at"),
    read("revision_number"),
];

#[derive(Deserialize)]
struct Ask {
    name: Option<Name>,
    description: Option<Name>,
    stateful: Option<Flag>,
    tenant_id: Option<Name>,
    project_id: Option<Name>,
}

async fn create(ctx: Ctx) -> Reply {
    let asked = TABLE.created::<Ask>(&ctx)?;
    let command = |ask: Ask| -> Result<_, Fault> {
        Ok(CreateSecurityGroup {
            id: SecurityGroupId(crate::frame::new_uuid()),
            project: ctx.owner_of_new(ask.tenant_id.as_ref(), ask.project_id.as_ref())?,
            name: ask.name.unwrap_or_default().0,
            description: ask.description.unwrap_or_default().0,
            stateful: ask.stateful.is_none_or(|f| f.0),
            rules: [(); 2].map(|()| SecurityGroupRuleId(crate::frame::new_uuid())),
            default_group: default_group_ids(),
        })
    };
    let commands: Vec<CreateSecurityGroup> = asked.items.into_iter().map(command).collect::<Result<_, _>>()?;
    let ids: Vec<SecurityGroupId> = commands.iter().map(|c| c.id).collect();
    let done = ctx.carry_out(Together(commands)).await?;
    let made: Vec<&SecurityGroup> = ids.iter().filter_map(|id| done.cloud.security_groups.get(id)).map(|g| &**g).collect();
    if asked.bulk { many(&ctx, 201, &done.cloud, &made) } else { one(&ctx, 201, &done.cloud, made[0]) }
}

/// The state, in which the project that is asked about has its default group.
pub async fn with_default(ctx: &Ctx) -> Result<Arc<Cloud>, Fault> {
    let named = ctx.query.get("project_id").or(ctx.query.get("tenant_id")).and_then(|p| p.parse().ok());
    let project: Option<ProjectId> = named.filter(|p| ctx.sees(p)).or(ctx.caller()?.project());
    match project.filter(|p| ctx.cloud.projects.contains(p) && ctx.cloud.security_groups.default_of(p).is_none()) {
        None => Ok(ctx.cloud.clone()),
        Some(project) => Ok(ctx.carry_out(EnsureDefaultGroup { project, ids: default_group_ids() }).await?.cloud),
    }
}

async fn index(ctx: Ctx) -> Reply {
    let cloud = with_default(&ctx).await?;
    match ctx.caller()?.project() {
        _ if ctx.is_admin() => list(&ctx, &cloud, cloud.security_groups.values().map(|g| &**g)),
        Some(project) => list(&ctx, &cloud, cloud.security_groups.of_project(&project).map(|g| &**g)),
        None => list(&ctx, &cloud, std::iter::empty::<&SecurityGroup>()),
    }
}

/// The group of the path, if the caller may know of it.
pub fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<&'a Arc<SecurityGroup>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Security group {text} does not exist")).with_kind("SecurityGroupNotFound");
    let id: SecurityGroupId = text.parse().map_err(|_| missing())?;
    cloud.security_groups.get(&id).filter(|g| ctx.sees(&g.project)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &**find(&ctx, &ctx.cloud)?)
}

async fn update(ctx: Ctx) -> Reply {
    let group = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&group.project, "update_security_group")?;
    let (id, ask) = (group.id, TABLE.changed::<Ask>(&ctx)?);
    let changes = SecurityGroupChanges {
        name: ask.name.map(|t| t.0),
        description: ask.description.map(|t| t.0),
        stateful: ask.stateful.map(|f| f.0),
        tags: None,
    };
    let done = ctx.carry_out(UpdateSecurityGroup { id, changes, revision: ctx.wanted_revision()? }).await?;
    let group = done.cloud.security_groups.get(&id).ok_or_else(|| denied("update_security_group", &[]))?;
    one(&ctx, 200, &done.cloud, &**group)
}

async fn delete(ctx: Ctx) -> Reply {
    let group = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&group.project, "delete_security_group")?;
    ctx.carry_out(DeleteSecurityGroup { id: group.id, admin: ctx.is_admin(), revision: ctx.wanted_revision()? }).await?;
    Ok(Answer::no_content())
}

/// A security group as the API shows it.
#[derive(Serialize)]
pub struct View<'a> {
    id: &'a SecurityGroupId,
    name: &'a str,
    description: &'a str,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    stateful: bool,
    shared: bool,
    security_group_rules: Vec<RuleView<'a>>,
    tags: &'a [String],
    created_at: Seconds,
    updated_at: Seconds,
    revision_number: u32,
}

impl Noun for SecurityGroup {
    const ONE: &'static str = "security_group";
    const MANY: &'static str = "security_groups";
    type View<'a> = View<'a>;
    fn uuid(&self) -> Uuid {
        self.id.0
    }
    fn tags(&self) -> &[String] {
        &self.tags
    }
    fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
    fn attr<'a>(&'a self, _: &At<'a>, name: &str) -> Option<Attr<'a>> {
        match name {
            "name" => Attr::text(&self.name),
            "description" => Attr::text(&self.description),
            "tenant_id" | "project_id" => Attr::shown(self.project),
            "stateful" => Some(Attr::Flag(self.stateful)),
            "shared" => Some(Attr::Flag(false)),
            "created_at" => Attr::shown(self.created_at.seconds()),
            "updated_at" => Attr::shown(self.updated_at.seconds()),
            "revision_number" => Some(Attr::Number(self.revision.into())),
            _ => None,
        }
    }
    fn view<'a>(&'a self, _: &At<'a>) -> View<'a> {
        View {
            id: &self.id,
            name: &self.name,
            description: &self.description,
            tenant_id: &self.project,
            project_id: &self.project,
            stateful: self.stateful,
            shared: false,
            security_group_rules: self.rules.iter().map(|r| rule_view(self, r)).collect(),
            tags: &self.tags,
            created_at: Seconds(self.created_at),
            updated_at: Seconds(self.updated_at),
            revision_number: self.revision,
        }
    }
}
