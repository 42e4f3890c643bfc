//! Images over HTTP: create, list, show, change, delete, tags, and withdrawing them from use.

use super::{STORE_HEADERS, asker, image_id, list, patch, validate, view, visible};
use crate::frame::{Answer, Ctx, Fault, Raw, Reply, Routes, Rule, new_uuid};
use serde_json::{Value, json};
use strata_conductor::decide::image::{CreateImage, DeleteImage, PatchImage, SetImageActive, TagImage};
use strata_events::ImageId;
use strata_writer::Done;

pub fn routes(r: &mut Routes) {
    r.get("/v2/images", index, Rule::reader("get_images"));
    r.post("/v2/images", create, Rule::member("add_image"));
    r.get("/v2/images/{image_id}", show, Rule::reader("get_image"));
    r.patch("/v2/images/{image_id}", update, Rule::member("modify_image"));
    r.delete("/v2/images/{image_id}", delete, Rule::member("delete_image"));
    r.delete("/v2/images", delete_none, Rule::member("delete_image"));
    r.put("/v2/images/{image_id}/tags/{tag}", add_tag, Rule::member("modify_image"));
    r.delete("/v2/images/{image_id}/tags/{tag}", remove_tag, Rule::member("modify_image"));
    r.post("/v2/images/{image_id}/actions/deactivate", deactivate, Rule::member("deactivate"));
    r.post("/v2/images/{image_id}/actions/reactivate", reactivate, Rule::member("reactivate"));
}

/// `/v2/images/` names the image whose id is empty, which clients ask for by mistake: it must not be the list.
fn no_id(ctx: &Ctx) -> Result<(), Fault> {
    if ctx.path.ends_with('/') { Err(Fault::not_found("No image found with ID ")) } else { Ok(()) }
}

async fn delete_none(ctx: Ctx) -> Reply {
    no_id(&ctx)?;
    Err(Fault::new(405, "The method DELETE is not allowed for this resource; it has GET, POST."))
}

async fn index(ctx: Ctx) -> Reply {
    no_id(&ctx)?;
    if ctx.caller()?.is_system() {
        return Err(Fault::policy(ctx.service(), "get_images"));
    }
    let (images, more) = list::page(&ctx)?;
    let link = |query: String| if query.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{query}") };
    let rest = ctx.query.without(&["marker"]);
    let views: Vec<Value> = images.iter().map(|i| view::image(i)).collect();
    let mut answer = json!({ "images": views, "first": link(rest.clone()), "schema": "/v2/schemas/images" });
    if let Some(last) = images.last().filter(|_| more) {
        let and = if rest.is_empty() { "" } else { "&" };
        answer["next"] = json!(link(format!("{rest}{and}marker={}", last.id)));
    }
    Ok(Answer::ok(&answer))
}

async fn create(ctx: Ctx) -> Reply {
    let wanted = validate::wanted(ctx.object()?)?;
    let id = wanted.id.unwrap_or_else(|| ImageId(new_uuid()));
    let owner = match wanted.owner {
        Some(owner) => owner,
        None => ctx.project()?,
    };
    let done = ctx.run(CreateImage { id, owner, attributes: wanted.attributes, asker: asker(&ctx) }).await?;
    let mut answer = Answer::created(&shown(&done, &id)?).header("location", &format!("{}/image/v2/images/{id}", ctx.base));
    for (name, value) in STORE_HEADERS {
        answer = answer.header(name, value);
    }
    Ok(answer)
}

fn shown(done: &Done, id: &ImageId) -> Result<Value, Fault> {
    let image = done.cloud.images.get(id);
    image.map(|i| view::image(i)).ok_or_else(|| Fault::not_found(format!("No image found with ID {id}")))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&view::image(&*visible(&ctx)?)))
}

async fn update(ctx: Ctx) -> Reply {
    let id = image_id(&ctx)?;
    let body = match &ctx.raw {
        Raw::Read(bytes) => bytes.as_ref(),
        Raw::Stream(_) => &[],
    };
    let changes = patch::changes(ctx.header("content-type").unwrap_or_default(), body)?;
    let done = ctx.run(PatchImage { id, changes, asker: asker(&ctx) }).await?;
    Ok(Answer::ok(&shown(&done, &id)?))
}

async fn delete(ctx: Ctx) -> Reply {
    let text = ctx.param("image_id");
    let id = text.parse().map_err(|_| Fault::not_found(format!("Failed to find image {text} to delete")))?;
    ctx.run(DeleteImage { id, asker: asker(&ctx) }).await?;
    ctx.app.images.tidy.notify_one();
    Ok(Answer::no_content())
}

async fn add_tag(ctx: Ctx) -> Reply {
    tag(ctx, true).await
}
async fn remove_tag(ctx: Ctx) -> Reply {
    tag(ctx, false).await
}
async fn tag(ctx: Ctx, present: bool) -> Reply {
    let tag = Value::from(ctx.param("tag"));
    let tag = validate::tag(&tag)?.to_owned();
    ctx.run(TagImage { id: image_id(&ctx)?, tag, present, asker: asker(&ctx) }).await?;
    Ok(Answer::no_content())
}

async fn deactivate(ctx: Ctx) -> Reply {
    ctx.run(SetImageActive { id: image_id(&ctx)?, active: false, asker: asker(&ctx) }).await?;
    Ok(Answer::no_content())
}
async fn reactivate(ctx: Ctx) -> Reply {
    ctx.run(SetImageActive { id: image_id(&ctx)?, active: true, asker: asker(&ctx) }).await?;
    Ok(Answer::no_content())
}
