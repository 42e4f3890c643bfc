//! Hosts joining: an admin makes a token for a name, the machine shows it once with the public half of its key and gets its
//! permit. The private half never leaves the machine. A host that has joined fetches the images of its servers here.

use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use crate::image::transfer::data_of;
use serde::Deserialize;
use serde_json::json;
use strata_events::{HostName, ImageId};
use strata_projections::cloud::host::Host;
use strata_projections::report::{IMAGE_SECONDS, image_request};
use strata_writer::nats::{JoinAsk, invite as make_token, join as let_in};

pub fn routes(r: &mut Routes) {
    r.post("/v1/invitations", invite, Rule::admin("strata:hosts:invite"));
    // The token in the body is what admits: a machine that joins has no user.
    r.post("/v1/hosts", join, Rule::public("strata:hosts:join"));
    // The host's signature in the header is what admits.
    r.get("/v1/hosts/{host}/images/{image}", image, Rule::public("strata:hosts:image"));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    host: String,
    /// How long the token is good.
    #[serde(default = "hour")]
    seconds: u32,
}

fn hour() -> u32 {
    3600
}

async fn invite(ctx: Ctx) -> Reply {
    let ask: Invite = ctx.body("invitation")?;
    let host = HostName(ask.host);
    let token = make_token(&ctx.app.conductor, ctx.context(), &host, i64::from(ask.seconds)).await;
    let token = token.map_err(|f| Fault::failed(ctx.service(), f))?;
    ctx.trail.committed(&ctx.context().actor);
    Ok(Answer::created(&json!({"invitation": {"host": host, "token": token}})))
}

async fn join(ctx: Ctx) -> Reply {
    let Some(gate) = &ctx.app.config.gate else {
        return Err(Fault::new(503, "This API doesn't have the key that admits hosts; ask one that was started by `strata serve`."));
    };
    let ask: JoinAsk = ctx.body("host")?;
    let joined = let_in(&ctx.app.conductor, &gate.account, &gate.nats_url, ctx.context(), ask).await;
    let joined = joined.map_err(|f| Fault::failed(ctx.service(), f))?;
    Ok(Answer::created(&json!({"host": joined})))
}

/// The data of an image that a server on the host begins as.
async fn image(ctx: Ctx) -> Reply {
    let host = HostName::from(ctx.param("host"));
    let nothing = || Fault::not_found("This host has no server that needs such an image.");
    let image: ImageId = ctx.param("image").parse().map_err(|_| nothing())?;
    let Some(known) = ctx.cloud.hosts.get(&host).filter(|h| signed(&ctx, h, &image)) else {
        return Err(Fault::new(401, "The request must be signed with the host's key, by a clock that is right."));
    };
    if !ctx.cloud.instances.on_host(&known.name).any(|i| i.spec.image == Some(image)) {
        return Err(nothing());
    }
    let data = ctx.cloud.images.get(&image).and_then(|i| i.data.clone()).ok_or_else(nothing)?;
    let body = data_of(&ctx.app, &image, &data.sha512, 0, data.size).await?;
    Ok(Answer::stream(200, "application/octet-stream", body).header("content-length", &data.size.to_string()))
}

/// `Authorization: Strata-Host at=<Unix seconds>, signature=<of that moment, the host and the image>`
fn signed(ctx: &Ctx, host: &Host, image: &ImageId) -> bool {
    let Some((at, signature)) = ctx
        .header("authorization")
        .and_then(|h| h.strip_prefix("Strata-Host at="))
        .and_then(|h| h.split_once(", signature="))
        .and_then(|(at, signature)| Some((at.parse::<i64>().ok()?, signature)))
    else {
        return false;
    };
    let fresh = ctx.now.unix_seconds().abs_diff(at) <= IMAGE_SECONDS.unsigned_abs();
    fresh && strata_credentials::proof::verify(&host.public_key, &image_request(&host.name, image, at), signature)
}
