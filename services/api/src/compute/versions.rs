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

/// The same calls without microversions, for clients that look for the oldest version first.
fn old(ctx: &Ctx) -> Value {
    json!({
        "id": "v2.0",
        "links": [{ "rel": "self", "href": format!("{}/compute/v2/", ctx.base) }],
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
    })
}

async fn all(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "versions": [old(&ctx), version(&ctx)] })))
}

async fn one(ctx: Ctx) -> Reply {
    let mut view = if ctx.path.starts_with("/compute/v2.1") { version(&ctx) } else { old(&ctx) };
    let media_type = if ctx.path.starts_with("/compute/v2.1") { "2.1" } else { "2" };
    let describedby = json!({ "rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/" });
    if let Some(links) = view["links"].as_array_mut() {
        links.push(describedby);
    }
    view["media-types"] =
        json!([{ "base": "application/json", "type": format!("application/vnd.openstack.compute+json;version={media_type}") }]);
    Ok(Answer::ok(&json!({ "version": view })))
}
