//! Hosts joining: an admin makes a token for a name, the machine shows it once with the public half of its key and gets its
//! permit. The private half never leaves the machine.

use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde::Deserialize;
use serde_json::json;
use strata_events::HostName;
use strata_writer::nats::{JoinAsk, invite as make_token, join as let_in};

pub fn routes(r: &mut Routes) {
    r.post("/v1/invitations", invite, Rule::admin("strata:hosts:invite"));
    // The token in the body is what admits: a machine that joins has no user.
    r.post("/v1/hosts", join, Rule::public("strata:hosts:join"));
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
