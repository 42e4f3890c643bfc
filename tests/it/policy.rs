//! Every route of every service, called as nobody and with each role: who is not admitted gets 401 or 403, who is gets past
//! the policy. The routes and their rules come from the same table that serves the calls, so a new route is walked without
//! being listed here; what the rule should be stands in [`OPEN`] for those that need no token.

use crate::cloud::{Cloud, shared};
use crate::http::Api;
use serde_json::json;
use std::collections::BTreeMap;
use strata_api::frame::{Rule, Who};

/// All that may be asked without a token. Another one is a decision to be made here.
const OPEN: [&str; 12] = [
    "/",
    "/v3",
    "/v3/auth/tokens",
    "/v2.0",
    "/v2.1",
    "/v2",
    "/v2.1/",
    "/v2/",
    "/versions",
    "/healthcheck",
    // Whoever knows the old password may set a new one, as an expired one must be; and a host shows its join token.
    "/v3/users/{user_id}/password",
    "/v1/hosts",
];

/// A user with one role in the project demo.
fn persona(cloud: &Cloud, admin: &Api, role: &str) -> Api {
    let roles = admin.get("/v3/roles").json();
    let role_id = roles["roles"].as_array().unwrap().iter().find(|r| r["name"] == role).unwrap()["id"].as_str().unwrap().to_string();
    let project = cloud.api("demo").project;
    let name = format!("policy-{role}");
    let user = admin.post("/v3/users", json!({"user": {"name": name, "password": "policy-secret"}})).expect(201).json();
    let user = user["user"]["id"].as_str().unwrap();
    let granted = admin.send("PUT", &format!("/v3/projects/{project}/users/{user}/roles/{role_id}"), None).unwrap();
    assert_eq!(granted.status, 204, "{}", granted.text());
    Api::login(cloud.port, &name, "policy-secret", "demo")
}

/// Whether a rule admits a user with this role in a project, by what the rule says.
fn admits(rule: &Rule, role: &str) -> bool {
    let rank = |role: &str| ["reader", "member", "manager", "admin"].iter().position(|r| *r == role).unwrap();
    rule.who.iter().any(|who| match who {
        Who::Anyone | Who::Token => true,
        Who::Admin => role == "admin",
        Who::ProjectReader => true,
        Who::ProjectMember => rank(role) >= 1,
        Who::ProjectManager => rank(role) >= 2,
        Who::SystemReader | Who::DomainReader | Who::DomainManager | Who::Service => false,
    })
}

#[test]
fn every_route_admits_whom_its_rule_names_and_nobody_else() {
    let cloud = shared();
    let admin = cloud.api("admin");
    let mut personas: BTreeMap<&str, Api> = ["reader", "member", "manager"].into_iter().map(|r| (r, persona(cloud, &admin, r))).collect();
    personas.insert("admin", admin.clone());
    let nobody = Api { token: String::new(), ..admin.clone() };
    let routes = strata_api::frame::app::routes();
    let (mut walked, mut wrong) = (0, vec![]);
    for route in routes.all() {
        let id = "00000000-0000-0000-0000-00000000000f";
        let path = route.path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/");
        let path = format!("{}{path}", prefix(route.service));
        let version = if route.since.0 == 0 { "2.1".to_string() } else { format!("{}.{}", route.since.0, route.since.1) };
        let newest = format!("OpenStack-API-Version: compute {version}\r\nContent-Type: application/json\r\n");
        let send = |api: &Api| api.send_as(route.method.as_str(), &path, &newest, b"{}").map_or(0, |a| a.status);
        let what = format!("{} {} ({})", route.method, route.path, route.rule.name);
        walked += 1;
        if route.rule.is_public() {
            let bare = route.path.as_str();
            if !OPEN.contains(&bare) && !(bare.is_empty()) {
                wrong.push(format!("{what} needs no token"));
            }
            continue;
        }
        let status = send(&nobody);
        if status != 401 {
            wrong.push(format!("{what} without a token: {status}"));
        }
        for (role, api) in &personas {
            // Revoking one's own token would end the walk.
            if route.path.ends_with("/auth/tokens") {
                continue;
            }
            let status = send(api);
            let admitted = admits(&route.rule, role);
            if status >= 500 || status == 0 || (admitted && status == 401) || (!admitted && status != 403) {
                wrong.push(format!("{what} as {role}: {status}, though the rule {} it", if admitted { "admits" } else { "forbids" }));
            }
        }
    }
    assert!(walked > 100, "only {walked} routes");
    assert!(wrong.is_empty(), "{} of {walked} routes:\n{}", wrong.len(), wrong.join("\n"));
}

pub fn prefix(service: strata_api::frame::Service) -> &'static str {
    match service {
        strata_api::frame::Service::Identity => "",
        strata_api::frame::Service::Compute => "/compute",
        strata_api::frame::Service::Image => "/image",
        strata_api::frame::Service::Network => "/network",
        strata_api::frame::Service::Strata => "/strata",
    }
}
