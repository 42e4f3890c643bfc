//! The network API (Neutron v2.0). Source: network api-ref; neutron_lib/api/definitions for what each attribute takes;
//! neutron/conf/policies for who may. Extensions that are not listed in `extensions` are not served.

mod agents;
mod attrs;
mod availability;
mod body;
mod caller;
mod extensions;
mod list;
mod networks;
mod ports;
mod quotas;
mod security_group_rules;
mod security_groups;
mod subnets;
mod tags;
mod time;

use crate::frame::{Answer, Ctx, Reply, Routes, Rule};
use serde_json::{Value, json};

pub fn routes(r: &mut Routes) {
    r.get("", versions, Rule::public("get_versions"));
    r.get("/v2.0", resources, Rule::public("get_versions"));
    networks::routes(r);
    subnets::routes(r);
    ports::routes(r);
    security_groups::routes(r);
    security_group_rules::routes(r);
    tags::routes(r);
    quotas::routes(r);
    agents::routes(r);
    availability::routes(r);
    extensions::routes(r);
}

async fn versions(ctx: Ctx) -> Reply {
    let href = format!("{}/network/v2.0/", ctx.base);
    Ok(Answer::ok(&json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]})))
}

async fn resources(ctx: Ctx) -> Reply {
    let collections = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("port", "ports"),
        ("security_group", "security-groups"),
        ("security_group_rule", "security-group-rules"),
        ("quota", "quotas"),
        ("agent", "agents"),
        ("availability_zone", "availability_zones"),
        ("network_ip_availability", "network-ip-availabilities"),
        ("extension", "extensions"),
    ];
    let link = |(name, collection): (&str, &str)| -> Value {
        let href = format!("{}/network/v2.0/{collection}", ctx.base);
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    };
    Ok(Answer::ok(&json!({"resources": collections.map(link)})))
}
