//! Sharing images with other projects. Source: image api-ref, "Sharing".

use super::{asker, image_id, view};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use std::sync::Arc;
use strata_conductor::decide::image::{AddMember, AnswerMember, RemoveMember};
use strata_events::image::Visibility;
use strata_events::{ImageId, ProjectId};
use strata_projections::cloud::image::{Image, Member};
use strata_writer::Done;

pub fn routes(r: &mut Routes) {
    r.get("/v2/images/{image_id}/members", index, Rule::reader("get_members"));
    r.post("/v2/images/{image_id}/members", create, Rule::member("add_member"));
    r.get("/v2/images/{image_id}/members/{member_id}", show, Rule::reader("get_member"));
    r.put("/v2/images/{image_id}/members/{member_id}", update, Rule::member("modify_member"));
    r.delete("/v2/images/{image_id}/members/{member_id}", delete, Rule::member("delete_member"));
}

fn visible(ctx: &Ctx) -> Result<Arc<Image>, Fault> {
    super::visible(ctx).map_err(|_| Fault::not_found(format!("Image {} not found.", ctx.param("image_id"))))
}

fn member_id(ctx: &Ctx) -> Result<ProjectId, Fault> {
    let (text, image) = (ctx.param("member_id"), ctx.param("image_id"));
    text.parse().map_err(|_| Fault::not_found(format!("{text} not found in the member list of the image {image}.")))
}

/// The members that a caller may know of: all for the owner, itself for a member.
fn known<'a>(ctx: &Ctx, image: &'a Image) -> impl Iterator<Item = &'a Member> {
    let asker = asker(ctx);
    let all = asker.owns(image);
    image.members.iter().filter(move |m| all || asker.project == Some(m.project))
}

async fn index(ctx: Ctx) -> Reply {
    let image = visible(&ctx)?;
    if image.attributes.visibility != Visibility::Shared {
        return Err(Fault::forbidden(format!("Not allowed to list members for image {}: Only shared images have members.", image.id)));
    }
    let members: Vec<Value> = known(&ctx, &image).map(|m| view::member(&image, m)).collect();
    Ok(Answer::ok(&json!({ "members": members, "schema": "/v2/schemas/members" })))
}

async fn show(ctx: Ctx) -> Reply {
    let image = visible(&ctx)?;
    if image.attributes.visibility != Visibility::Shared {
        return Err(Fault::not_found("Only shared images have members."));
    }
    let id = member_id(&ctx)?;
    let missing = || Fault::not_found(format!("{id} not found in the member list of the image {}.", image.id));
    let member = known(&ctx, &image).find(|m| m.project == id).ok_or_else(missing)?;
    Ok(Answer::ok(&view::member(&image, member)))
}

async fn create(ctx: Ctx) -> Reply {
    let id = image_id(&ctx)?;
    let member = match ctx.object()?.get("member") {
        None => return Err(Fault::bad_request("Member to be added not specified")),
        Some(Value::String(text)) if !text.is_empty() => {
            text.parse().map_err(|_| Fault::bad_request(format!("Member {text} is not the id of a project")))?
        }
        Some(Value::String(_) | Value::Null) => return Err(Fault::bad_request("Member can't be empty")),
        Some(_) => return Err(Fault::bad_request("Expected a member in the form: {\"member\": \"image_id\"}")),
    };
    let done = ctx.run(AddMember { id, member, asker: asker(&ctx) }).await?;
    after(&done, &id, &member)
}

async fn update(ctx: Ctx) -> Reply {
    let id = image_id(&ctx)?;
    let body = ctx.object()?;
    let status = body.get("status").ok_or_else(|| Fault::bad_request("Status not specified"))?;
    let status = serde_json::from_value(status.clone())
        .map_err(|_| Fault::bad_request("Incorrect request: Status must be \"pending\", \"accepted\" or \"rejected\"."))?;
    let member = member_id(&ctx)?;
    let done = ctx.run(AnswerMember { id, member, status, asker: asker(&ctx) }).await?;
    after(&done, &id, &member)
}

async fn delete(ctx: Ctx) -> Reply {
    ctx.run(RemoveMember { id: image_id(&ctx)?, member: member_id(&ctx)?, asker: asker(&ctx) }).await?;
    Ok(Answer::no_content())
}

fn after(done: &Done, id: &ImageId, member: &ProjectId) -> Reply {
    let image = done.cloud.images.get(id);
    let found = image.and_then(|i| i.member(member).map(|m| view::member(i, m)));
    found.map(|view| Answer::ok(&view)).ok_or_else(|| Fault::not_found(format!("Image {id} not found.")))
}
