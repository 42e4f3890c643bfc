//! Discovery: `GET /` and `GET /v3`, which need no token.

use super::common::root;
use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Value, json};

pub fn routes(r: &mut Routes) {
    r.get("", choices, Rule::public("versions"));
    r.get("/v3", show, Rule::public("version"));
}

fn version(ctx: &Ctx) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{}/", root(ctx)) }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}

async fn choices(ctx: Ctx) -> Reply {
    Ok(Answer::json(300, &json!({ "versions": { "values": [version(&ctx)] } })).header("location", &format!("{}/", root(&ctx))))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "version": version(&ctx) })))
}
