//! Security groups as Nova once had them, and those of a server. Nova passes all of it on to Neutron; here both speak of the same
//! groups. Source: compute api-ref, "Security groups (os-security-groups, deprecated)", "Rules for security group", "Servers
//! security groups". Until 2.35, but for those of a server. Only what lets something in is a rule in its eyes.

use super::server_create::default_group_ids;
use super::{server_view, servers};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule as Policy};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::Command;
use strata_conductor::decide::security_group::{
    AddRule, CreateSecurityGroup, DeleteSecurityGroup, EnsureDefaultGroup, RemoveRule, SecurityGroupChanges, UpdateSecurityGroup,
};
use strata_events::security_group::{Direction, Ethertype, Rule};
use strata_events::{SecurityGroupId, SecurityGroupRuleId};
use strata_projections::Cloud;
use strata_projections::cloud::security_group::SecurityGroup;
use strata_writer::Done;

const GROUPS: &str = "/v2.1/os-security-groups";
const GROUP: &str = "/v2.1/os-security-groups/{id}";

pub fn routes(r: &mut Routes) {
    r.get(GROUPS, index, Policy::reader("os_compute_api:os-security-groups:get")).until(2, 35);
    r.post(GROUPS, create, Policy::member("os_compute_api:os-security-groups:create")).until(2, 35);
    r.get(GROUP, show, Policy::reader("os_compute_api:os-security-groups:show")).until(2, 35);
    r.put(GROUP, update, Policy::member("os_compute_api:os-security-groups:update")).until(2, 35);
    r.delete(GROUP, delete, Policy::member("os_compute_api:os-security-groups:delete")).until(2, 35);
    r.post("/v2.1/os-security-group-rules", add_rule, Policy::member("os_compute_api:os-security-groups:rule:create")).until(2, 35);
    r.delete("/v2.1/os-security-group-rules/{id}", remove_rule, Policy::member("os_compute_api:os-security-groups:rule:delete"))
        .until(2, 35);
    r.get("/v2.1/servers/{id}/os-security-groups", of_server, Policy::reader("os_compute_api:os-security-groups:list"));
}

fn view(cloud: &Cloud, group: &SecurityGroup) -> Value {
    let inward = group.rules.iter().filter(|r| r.direction == Direction::Ingress);
    let rules: Vec<Value> = inward.map(|rule| rule_view(cloud, group, rule)).collect();
    json!({ "id": group.id, "name": group.name, "description": group.description, "tenant_id": group.project, "rules": rules })
}

fn rule_view(cloud: &Cloud, group: &SecurityGroup, rule: &Rule) -> Value {
    let (from, to) = match (rule.protocol.as_deref(), rule.port_range_min, rule.port_range_max) {
        (Some("tcp" | "udp"), None, None) => (Some(1), Some(65535)),
        (Some(_), None, None) => (Some(-1), Some(-1)),
        (_, min, max) => (min.map(i32::from), max.map(i32::from)),
    };
    let remote = rule.remote_group.and_then(|id| cloud.security_groups.get(&id));
    let (source, range) = match (remote, rule.remote_ip_prefix, rule.ethertype) {
        (Some(remote), ..) => (json!({ "name": remote.name, "tenant_id": remote.project }), json!({})),
        (None, Some(prefix), _) => (json!({}), json!({ "cidr": prefix })),
        (None, None, Ethertype::V4) => (json!({}), json!({ "cidr": "0.0.0.0/0" })),
        (None, None, Ethertype::V6) => (json!({}), json!({ "cidr": "::/0" })),
    };
    json!({
        "id": rule.id, "parent_group_id": group.id, "ip_protocol": rule.protocol, "from_port": from, "to_port": to,
        "group": source, "ip_range": range,
    })
}

fn missing(id: &str) -> Fault {
    Fault::not_found(format!("Security group {id} not found."))
}

fn get<'a>(ctx: &Ctx, cloud: &'a Cloud, id: &str) -> Result<&'a Arc<SecurityGroup>, Fault> {
    let found = id.parse().ok().and_then(|id: SecurityGroupId| cloud.security_groups.get(&id));
    found.filter(|g| ctx.sees(&g.project)).ok_or_else(|| missing(id))
}

/// What Neutron calls a conflict is a bad request in Nova.
async fn run(ctx: &Ctx, command: impl Command) -> Result<Done, Fault> {
    ctx.run(command).await.map_err(|fault| if fault.status == 409 { Fault::bad_request(fault.message) } else { fault })
}

async fn index(ctx: Ctx) -> Reply {
    let project = ctx.project()?;
    let mut cloud = ctx.cloud.clone();
    if cloud.security_groups.default_of(&project).is_none() && cloud.projects.contains(&project) {
        cloud = run(&ctx, EnsureDefaultGroup { project, ids: default_group_ids() }).await?.cloud;
    }
    let everybody = ctx.query.has("all_tenants") && ctx.is_admin();
    let groups: Vec<Value> = if everybody {
        cloud.security_groups.values().map(|g| view(&cloud, g)).collect()
    } else {
        cloud.security_groups.of_project(&project).map(|g| view(&cloud, g)).collect()
    };
    Ok(Answer::ok(&json!({ "security_groups": groups })))
}

#[derive(Deserialize)]
struct Named {
    name: Option<Value>,
    description: Option<Value>,
}

impl Named {
    fn read(self) -> Result<(String, String), Fault> {
        let text = |value: Option<Value>, what: &str| match value {
            Some(Value::String(text)) if text.trim().is_empty() => {
                Err(Fault::bad_request(format!("Security group {what} cannot be empty.")))
            }
            Some(Value::String(text)) if text.chars().count() > 255 => {
                Err(Fault::bad_request(format!("Security group {what} should not be greater than 255 characters.")))
            }
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            _ => Err(Fault::bad_request(format!("Security group {what} is not a string or unicode"))),
        };
        Ok((text(self.name, "name")?, text(self.description, "description")?))
    }
}

async fn create(ctx: Ctx) -> Reply {
    let (name, description) = ctx.body::<Named>("security_group")?.read()?;
    let id = SecurityGroupId(crate::frame::new_uuid());
    let rules = [(); 2].map(|()| SecurityGroupRuleId(crate::frame::new_uuid()));
    let default_group = default_group_ids();
    let command = CreateSecurityGroup { id, project: ctx.project()?, name, description, stateful: true, rules, default_group };
    shown(&run(&ctx, command).await?, &id)
}

fn shown(done: &Done, id: &SecurityGroupId) -> Reply {
    let group = done.cloud.security_groups.get(id).ok_or_else(|| missing(&id.to_string()))?;
    Ok(Answer::ok(&json!({ "security_group": view(&done.cloud, group) })))
}

async fn show(ctx: Ctx) -> Reply {
    let group = get(&ctx, &ctx.cloud, ctx.param("id"))?;
    Ok(Answer::ok(&json!({ "security_group": view(&ctx.cloud, group) })))
}

async fn update(ctx: Ctx) -> Reply {
    let id = get(&ctx, &ctx.cloud, ctx.param("id"))?.id;
    let (name, description) = ctx.body::<Named>("security_group")?.read()?;
    let changes = SecurityGroupChanges { name: Some(name), description: Some(description), stateful: None, tags: None };
    shown(&run(&ctx, UpdateSecurityGroup { id, changes, revision: None }).await?, &id)
}

async fn delete(ctx: Ctx) -> Reply {
    let id = get(&ctx, &ctx.cloud, ctx.param("id"))?.id;
    run(&ctx, DeleteSecurityGroup { id, admin: ctx.is_admin(), revision: None }).await?;
    Ok(Answer::empty(202))
}

#[derive(Deserialize)]
struct NewRule {
    parent_group_id: Option<String>,
    ip_protocol: Option<String>,
    from_port: Option<Value>,
    to_port: Option<Value>,
    cidr: Option<String>,
    group_id: Option<String>,
}

/// A number, also as text. -1 is any type or code of ICMP.
fn port(value: Option<Value>, protocol: &str) -> Result<Option<i64>, Fault> {
    let number = match &value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(s)) => s.parse().ok(),
        _ => None,
    };
    let number =
        number.filter(|n| (-1..=65535).contains(n)).ok_or_else(|| Fault::bad_request("Invalid input for from_port or to_port."))?;
    Ok(Some(number).filter(|n| !(*n == -1 && protocol.starts_with("icmp"))))
}

async fn add_rule(ctx: Ctx) -> Reply {
    let ask: NewRule = ctx.body("security_group_rule")?;
    let parent = ask.parent_group_id.ok_or_else(|| Fault::bad_request("Security group id should be uuid"))?;
    let group = get(&ctx, &ctx.cloud, &parent)?;
    let remote_group = ask.group_id.map(|id| get(&ctx, &ctx.cloud, &id).map(|g| g.id)).transpose()?;
    let lacks = || Fault::bad_request("Not enough parameters to build a valid rule.");
    let protocol = ask.ip_protocol.map(|p| p.to_ascii_lowercase());
    let named = protocol.clone().unwrap_or_default();
    let (min, max) = (port(ask.from_port.clone(), &named)?, port(ask.to_port.clone(), &named)?);
    if remote_group.is_none() && (protocol.is_none() || ask.from_port.is_none() || ask.to_port.is_none()) {
        return Err(lacks());
    }
    let everywhere = if named.contains("v6") { "::/0" } else { "0.0.0.0/0" };
    let cidr = ask.cidr.filter(|c| !c.is_empty()).unwrap_or_else(|| everywhere.into());
    let prefix: IpNet = cidr.parse().map_err(|_| Fault::bad_request(format!("Invalid cidr {cidr}")))?;
    let ethertype = if prefix.addr().is_ipv6() && remote_group.is_none() { Ethertype::V6 } else { Ethertype::V4 };
    let id = SecurityGroupRuleId(crate::frame::new_uuid());
    let command = AddRule {
        id,
        group: group.id,
        project: (!ctx.is_admin()).then_some(group.project),
        direction: Direction::Ingress,
        ethertype,
        protocol,
        port_range_min: min,
        port_range_max: max,
        remote_ip_prefix: remote_group.is_none().then_some(prefix),
        remote_group,
        description: String::new(),
    };
    let done = run(&ctx, command).await?;
    let group = done.cloud.security_groups.holding(&id).ok_or_else(|| missing(&parent))?;
    let rule = group.rules.iter().find(|r| r.id == id).map(|rule| rule_view(&done.cloud, group, rule));
    Ok(Answer::ok(&json!({ "security_group_rule": rule })))
}

async fn remove_rule(ctx: Ctx) -> Reply {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Security group rule {text} not found."));
    let id: SecurityGroupRuleId = text.parse().map_err(|_| missing())?;
    let group = ctx.cloud.security_groups.holding(&id).filter(|g| ctx.sees(&g.project)).ok_or_else(missing)?;
    // What lets something out is no rule here.
    group.rules.iter().find(|r| r.id == id && r.direction == Direction::Ingress).ok_or_else(missing)?;
    run(&ctx, RemoveRule { id }).await?;
    Ok(Answer::empty(202))
}

async fn of_server(ctx: Ctx) -> Reply {
    let instance = servers::find(&ctx, &ctx.cloud)?;
    let groups = server_view::security_groups(&ctx.cloud, instance);
    let groups: Vec<Value> = groups.iter().filter_map(|id| ctx.cloud.security_groups.get(id)).map(|g| view(&ctx.cloud, g)).collect();
    Ok(Answer::ok(&json!({ "security_groups": groups })))
}
