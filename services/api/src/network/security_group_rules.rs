//! Security group rules over HTTP. Source: network api-ref, "Security group rules". A rule belongs to its group's project.

use super::attrs::{Name, network};
use super::body::{Attribute, Table, post, read};
use super::list::{At, Attr, Noun, list, many, one};
use super::security_groups::with_default;
use super::time::Seconds;
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule as Policy};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use strata_conductor::Together;
use strata_conductor::decide::security_group::{AddRule, RemoveRule};
use strata_events::security_group::{Direction, Ethertype, Rule};
use strata_events::{ProjectId, SecurityGroupId, SecurityGroupRuleId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::security_group::{DEFAULT, SecurityGroup};
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/security-group-rules", index, Policy::token("get_security_group_rule"));
    r.post("/v2.0/security-group-rules", create, Policy::member("create_security_group_rule"));
    r.get("/v2.0/security-group-rules/{id}", show, Policy::token("get_security_group_rule"));
    r.delete("/v2.0/security-group-rules/{id}", delete, Policy::member("delete_security_group_rule"));
}

const TABLE: Table = Table {
    one: "security_group_rule",
    many: "security_group_rules",
    required: &["security_group_id", "direction"],
    attributes: ATTRIBUTES,
};
const ATTRIBUTES: &[Attribute] = &[
    post("security_group_id"),
    post("direction"),
    post("ethertype"),
    post("protocol"),
    post("port_range_min"),
    post("port_range_max"),
    post("remote_ip_prefix"),
    post("remote_group_id"),
    post("description"),
    post("tenant_id"),
    post("project_id"),
    read("id"),
    read("normalized_cidr"),
    read("belongs_to_default_sg"),
    read("created_at"),
    read("updated_at"),
    read("revision_number"),
];

#[derive(Deserialize)]
struct Ask {
    security_group_id: Name,
    direction: Name,
    ethertype: Option<Name>,
    protocol: Option<Value>,
    port_range_min: Option<Value>,
    port_range_max: Option<Value>,
    remote_ip_prefix: Option<Name>,
    remote_group_id: Option<Name>,
    description: Option<Name>,
    tenant_id: Option<Name>,
    project_id: Option<Name>,
}

fn invalid(attribute: &str, why: String) -> Fault {
    Fault::bad_request(format!("Invalid input for {attribute}. Reason: {why}."))
}

/// A port is a number, also as text; anything else has Neutron's own words.
fn port(value: Option<Value>) -> Result<Option<i64>, Fault> {
    let number = match &value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(s)) => s.parse().ok(),
        _ => None,
    };
    let shown = value.map(|v| v.to_string()).unwrap_or_default();
    number.map(Some).ok_or_else(|| Fault::bad_request(format!("Invalid value for port {shown}")).with_kind("SecurityGroupInvalidPortValue"))
}

impl Ask {
    fn command(self, ctx: &Ctx) -> Result<AddRule, Fault> {
        let group = |text: &str| -> Result<SecurityGroupId, Fault> {
            text.parse().map_err(|_| Fault::not_found(format!("Security group {text} does not exist")).with_kind("SecurityGroupNotFound"))
        };
        let project = ctx.owner_of_new(self.tenant_id.as_ref(), self.project_id.as_ref())?;
        let direction = match self.direction.0.as_str() {
            "ingress" => Direction::Ingress,
            "egress" => Direction::Egress,
            other => return Err(invalid("direction", format!("'{other}' is not in ['ingress', 'egress']"))),
        };
        let ethertype = match self.ethertype.as_ref().map(|t| t.0.to_ascii_lowercase()).as_deref() {
            None | Some("ipv4") => Ethertype::V4,
            Some("ipv6") => Ethertype::V6,
            Some(other) => {
                let message = format!("Security group rule for ethertype '{other}' not supported. Allowed values are ['IPv4', 'IPv6'].");
                return Err(Fault::bad_request(message).with_kind("SecurityGroupRuleInvalidEtherType"));
            }
        };
        let protocol = match self.protocol {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(s.to_ascii_lowercase()).filter(|s| !s.is_empty() && s != "any"),
            Some(Value::Number(n)) => Some(n.to_string()),
            Some(other) => return Err(invalid("protocol", format!("'{other}' is neither a name nor a number"))),
        };
        let prefix = self.remote_ip_prefix.filter(|t| !t.0.is_empty());
        let remote_ip_prefix =
            prefix.map(|t| network(&t.0).ok_or_else(|| invalid("remote_ip_prefix", format!("'{}' is not a valid IP subnet", t.0))));
        Ok(AddRule {
            id: SecurityGroupRuleId(crate::frame::new_uuid()),
            group: group(&self.security_group_id.0)?,
            project: (!ctx.is_admin()).then_some(project),
            direction,
            ethertype,
            protocol,
            port_range_min: port(self.port_range_min)?,
            port_range_max: port(self.port_range_max)?,
            remote_ip_prefix: remote_ip_prefix.transpose()?,
            remote_group: self.remote_group_id.filter(|t| !t.0.is_empty()).map(|t| group(&t.0)).transpose()?,
            description: self.description.unwrap_or_default().0,
        })
    }
}

/// A rule with the group that holds it.
struct Held<'a> {
    group: &'a SecurityGroup,
    rule: &'a Rule,
}

fn held<'a>(cloud: &'a Cloud, id: &SecurityGroupRuleId) -> Option<Held<'a>> {
    let group = cloud.security_groups.holding(id)?;
    group.rules.iter().find(|r| r.id == *id).map(|rule| Held { group, rule })
}

async fn create(ctx: Ctx) -> Reply {
    let asked = TABLE.created::<Ask>(&ctx)?;
    let commands: Vec<AddRule> = asked.items.into_iter().map(|ask| ask.command(&ctx)).collect::<Result<_, _>>()?;
    let ids: Vec<SecurityGroupRuleId> = commands.iter().map(|c| c.id).collect();
    let done = ctx.carry_out(Together(commands)).await?;
    let made: Vec<Held<'_>> = ids.iter().filter_map(|id| held(&done.cloud, id)).collect();
    if asked.bulk { many(&ctx, 201, &done.cloud, &made.iter().collect::<Vec<_>>()) } else { one(&ctx, 201, &done.cloud, &made[0]) }
}

async fn index(ctx: Ctx) -> Reply {
    let cloud = with_default(&ctx).await?;
    let groups: Vec<&Arc<SecurityGroup>> = match ctx.caller()?.project() {
        _ if ctx.is_admin() => cloud.security_groups.values().collect(),
        Some(project) => cloud.security_groups.of_project(&project).collect(),
        None => vec![],
    };
    let rules: Vec<Held<'_>> = groups.iter().flat_map(|group| group.rules.iter().map(move |rule| Held { group, rule })).collect();
    list(&ctx, &cloud, rules.iter())
}

fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<Held<'a>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Security group rule {text} does not exist")).with_kind("SecurityGroupRuleNotFound");
    let id = text.parse().map_err(|_| missing())?;
    held(cloud, &id).filter(|h| ctx.sees(&h.group.project)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &find(&ctx, &ctx.cloud)?)
}

async fn delete(ctx: Ctx) -> Reply {
    let found = find(&ctx, &ctx.cloud)?;
    ctx.may_change(&found.group.project, "delete_security_group_rule")?;
    let id = found.rule.id;
    ctx.carry_out(RemoveRule { id }).await?;
    Ok(Answer::no_content())
}

/// A rule as the API shows it.
#[derive(Serialize)]
pub struct RuleView<'a> {
    id: &'a SecurityGroupRuleId,
    tenant_id: &'a ProjectId,
    project_id: &'a ProjectId,
    security_group_id: &'a SecurityGroupId,
    ethertype: Ethertype,
    direction: Direction,
    protocol: Option<&'a str>,
    port_range_min: Option<u16>,
    port_range_max: Option<u16>,
    remote_ip_prefix: Option<IpNet>,
    normalized_cidr: Option<IpNet>,
    remote_group_id: Option<SecurityGroupId>,
    belongs_to_default_sg: bool,
    description: &'a str,
    tags: [&'a str; 0],
    created_at: Seconds,
    updated_at: Seconds,
    revision_number: u32,
}

pub fn rule_view<'a>(group: &'a SecurityGroup, rule: &'a Rule) -> RuleView<'a> {
    RuleView {
        id: &rule.id,
        tenant_id: &group.project,
        project_id: &group.project,
        security_group_id: &group.id,
        ethertype: rule.ethertype,
        direction: rule.direction,
        protocol: rule.protocol.as_deref(),
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        remote_ip_prefix: rule.remote_ip_prefix,
        normalized_cidr: rule.remote_ip_prefix.map(|p| p.trunc()),
        remote_group_id: rule.remote_group,
        belongs_to_default_sg: group.name == DEFAULT,
        description: &rule.description,
        tags: [],
        created_at: Seconds(rule.created_at),
        updated_at: Seconds(rule.created_at),
        // A rule never changes.
        revision_number: 0,
    }
}

impl Noun for Held<'_> {
    const ONE: &'static str = "security_group_rule";
    const MANY: &'static str = "security_group_rules";
    type View<'a>
        = RuleView<'a>
    where
        Self: 'a;
    fn uuid(&self) -> Uuid {
        self.rule.id.0
    }
    fn tags(&self) -> &[String] {
        &[]
    }
    fn updated_at(&self) -> Timestamp {
        self.rule.created_at
    }
    fn attr<'a>(&'a self, _: &At<'a>, name: &str) -> Option<Attr<'a>> {
        let rule = self.rule;
        let number = |n: Option<u16>| Some(n.map_or(Attr::Nothing, |n| Attr::Number(n.into())));
        match name {
            "tenant_id" | "project_id" => Attr::shown(self.group.project),
            "security_group_id" => Attr::shown(self.group.id),
            "direction" => Attr::text(if rule.direction == Direction::Ingress { "ingress" } else { "egress" }),
            "ethertype" => Attr::text(if rule.ethertype == Ethertype::V4 { "IPv4" } else { "IPv6" }),
            "protocol" => Attr::maybe(rule.protocol.as_ref()),
            "port_range_min" => number(rule.port_range_min),
            "port_range_max" => number(rule.port_range_max),
            "remote_ip_prefix" => Attr::maybe(rule.remote_ip_prefix),
            "normalized_cidr" => Attr::maybe(rule.remote_ip_prefix.map(|p| p.trunc())),
            "remote_group_id" => Attr::maybe(rule.remote_group),
            "belongs_to_default_sg" => Some(Attr::Flag(self.group.name == DEFAULT)),
            "description" => Attr::text(&rule.description),
            "created_at" | "updated_at" => Attr::shown(rule.created_at.seconds()),
            "revision_number" => Some(Attr::Number(0)),
            _ => None,
        }
    }
    fn view<'a>(&'a self, _: &At<'a>) -> RuleView<'a> {
        rule_view(self.group, self.rule)
    }
}
