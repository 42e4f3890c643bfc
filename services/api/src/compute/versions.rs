//! Which versions of the compute API there are. Source: compute api-guide "Versions"; nova's doc/api_samples/versions.

use super::{MAX_VERSION, MIN_VERSION};
use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Value, json};

pub fn routes(r: &mut Routes) {
    r.get("", all, Rule::public("os_compute_api:versions"));
    r.get("/v2.1", one, Rule::public("os_compute_api:versions"));
}

fn version(ctx: &Ctx) -> Value {
    json!({
        "id": "v2.1",
        "links": [{ "rel": "self", "href": format!("{}/compute/v2.1/", ctx.base) }],
        "status": "CURRENT",
        "version": MAX_VERSION.to_string(),
        "min_version": MIN_VERSION.to_string(),
        "updated": "2013-07-23T11:33:21Z",
    })
}

async fn all(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "versions": [version(&ctx)] })))
}

async fn one(ctx: Ctx) -> Reply {
    let mut view = version(&ctx);
    let describedby = json!({ "rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/" });
    if let Some(links) = view["links"].as_array_mut() {
        links.push(describedby);
    }
    view["media-types"] = json!([{ "base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1" }]);
    Ok(Answer::ok(&json!({ "version": view })))
}
