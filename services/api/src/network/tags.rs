//! Tags over HTTP (extension standard-attr-tag): the same calls below each thing that has them.

use super::attrs::Name;
use super::caller::port_seed;
use super::{networks, ports, security_groups, subnets};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use strata_conductor::decide::network::{NetworkChanges, UpdateNetwork};
use strata_conductor::decide::port::{PortChanges, UpdatePort};
use strata_conductor::decide::security_group::{SecurityGroupChanges, UpdateSecurityGroup};
use strata_conductor::decide::subnet::{SubnetChanges, UpdateSubnet};
use strata_conductor::decide::tags::{TagChange, not_found};

pub fn routes(r: &mut Routes) {
    for collection in ["networks", "subnets", "ports", "security-groups"] {
        let tags = format!("/v2.0/{collection}/{{id}}/tags");
        let tag = format!("{tags}/{{tag}}");
        r.get(&tags, index, Rule::token("get_tags"));
        r.put(&tags, replace, Rule::member("update_tags"));
        r.delete(&tags, clear, Rule::member("delete_tags"));
        r.get(&tag, show, Rule::token("get_tags"));
        r.put(&tag, add, Rule::member("update_tags"));
        r.delete(&tag, remove, Rule::member("delete_tags"));
    }
}

/// Which collection the path is in.
fn collection(ctx: &Ctx) -> &str {
    ctx.route.path.split('/').nth(2).unwrap_or_default()
}

fn tags_of(ctx: &Ctx) -> Result<Vec<String>, Fault> {
    let cloud = &ctx.cloud;
    Ok(match collection(ctx) {
        "networks" => networks::find(ctx, cloud)?.attributes.tags.clone(),
        "subnets" => subnets::find(ctx, cloud)?.attributes.tags.clone(),
        "ports" => ports::find(ctx, cloud)?.attributes.tags.clone(),
        _ => security_groups::find(ctx, cloud)?.tags.clone(),
    })
}

async fn change(ctx: &Ctx, change: TagChange) -> Result<(), Fault> {
    let (cloud, tags, revision) = (&ctx.cloud, Some(change), ctx.wanted_revision()?);
    match collection(ctx) {
        "networks" => {
            let network = networks::find(ctx, cloud)?;
            ctx.may_change(&network.project, "update_networks_tags")?;
            let changes = NetworkChanges { tags, ..Default::default() };
            ctx.carry_out(UpdateNetwork { id: network.id, changes, revision }).await?
        }
        "subnets" => {
            let subnet = subnets::find(ctx, cloud)?;
            subnets::may_change(ctx, cloud, subnet, "update_subnets_tags")?;
            let changes = SubnetChanges { tags, ..Default::default() };
            ctx.carry_out(UpdateSubnet { id: subnet.id, changes, revision, distributed: port_seed() }).await?
        }
        "ports" => {
            let port = ports::find(ctx, cloud)?;
            ctx.may_change(&port.project, "update_ports_tags")?;
            let changes = PortChanges { tags, ..Default::default() };
            ctx.carry_out(UpdatePort { id: port.id, scope: ctx.network_scope(), changes, revision }).await?
        }
        _ => {
            let group = security_groups::find(ctx, cloud)?;
            ctx.may_change(&group.project, "update_security_groups_tags")?;
            let changes = SecurityGroupChanges { tags, ..Default::default() };
            ctx.carry_out(UpdateSecurityGroup { id: group.id, changes, revision }).await?
        }
    };
    Ok(())
}

async fn index(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "tags": tags_of(&ctx)? })))
}

async fn replace(ctx: Ctx) -> Reply {
    let mut object = ctx.object()?;
    let tags = object.remove("tags").ok_or_else(|| Fault::bad_request("Invalid tags body"))?;
    let tags: Vec<Name> = ctx.typed("tags", tags)?;
    if object.keys().next().is_some() {
        return Err(Fault::bad_request("Invalid tags body"));
    }
    let mut tags: Vec<String> = tags.into_iter().map(|t| checked(t.0)).collect::<Result<_, _>>()?;
    change(&ctx, TagChange::Set(tags.clone())).await?;
    tags.sort();
    tags.dedup();
    Ok(Answer::ok(&json!({ "tags": tags })))
}

async fn clear(ctx: Ctx) -> Reply {
    change(&ctx, TagChange::Set(vec![])).await?;
    Ok(Answer::no_content())
}

async fn show(ctx: Ctx) -> Reply {
    let tag = ctx.param("tag");
    if !tags_of(&ctx)?.iter().any(|t| t == tag) {
        return Err(Fault::refused(ctx.service(), not_found(tag)));
    }
    Ok(Answer::no_content())
}

async fn add(ctx: Ctx) -> Reply {
    let tag = checked(ctx.typed::<Name>("tag", Value::from(ctx.param("tag")))?.0)?;
    change(&ctx, TagChange::Add(vec![tag])).await?;
    Ok(Answer::empty(201))
}

async fn remove(ctx: Ctx) -> Reply {
    change(&ctx, TagChange::Remove(ctx.param("tag").to_owned())).await?;
    Ok(Answer::no_content())
}

fn checked(tag: String) -> Result<String, Fault> {
    if tag.is_empty() || tag.contains(['\n', '\t']) {
        return Err(Fault::bad_request(format!("Invalid input for tags. Reason: '{tag}' is not a valid tag.")));
    }
    Ok(tag)
}
