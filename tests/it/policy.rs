//! Every route of every service, called as nobody and with each role in a project, a domain and the system: who is not admitted gets 401 or 403, who is gets past
//! the policy. The routes and their rules come from the same table that serves the calls, so a new route is walked without
//! being listed here; what the rule should be stands in [`OPEN`] for those that need no token.

use crate::cloud::{Cloud, shared};
use crate::http::{Api, authenticate_for};
use serde_json::json;
use strata_api::frame::{Rule, Who};

/// All that may be asked without a token. Another one is a decision to be made here.
const OPEN: [&str; 13] = [
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
    // A host signs with its own key what it asks for.
    "/v1/hosts/{host}/images/{image}",
];

/// A user with one role in one place.
struct Persona {
    role: &'static str,
    place: Place,
    api: Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Project,
    Domain,
    System,
}

/// Every role where OpenStack's personas have it. A manager of the system and the like are nobody's persona.
const PERSONAS: [(&str, Place); 11] = [
    ("reader", Place::Project),
    ("member", Place::Project),
    ("manager", Place::Project),
    ("admin", Place::Project),
    ("service", Place::Project),
    ("reader", Place::Domain),
    ("member", Place::Domain),
    ("manager", Place::Domain),
    ("admin", Place::Domain),
    ("reader", Place::System),
    ("admin", Place::System),
];

impl Persona {
    fn make(cloud: &Cloud, admin: &Api, (role, place): (&'static str, Place)) -> Self {
        let roles = admin.get("/v3/roles").json();
        let role_id = roles["roles"].as_array().unwrap().iter().find(|r| r["name"] == role).unwrap()["id"].as_str().unwrap().to_string();
        let name = format!("policy-{role}-{place:?}");
        let user = admin.post("/v3/users", json!({"user": {"name": name, "password": "policy-secret"}})).expect(201).json();
        let user = user["user"]["id"].as_str().unwrap();
        let (of, scope) = match place {
            Place::Project => {
                (format!("projects/{}", cloud.api("demo").project), json!({"project": {"name": "demo", "domain": {"id": "default"}}}))
            }
            Place::Domain => ("domains/default".into(), json!({"domain": {"id": "default"}})),
            Place::System => ("system".into(), json!({"system": {"all": true}})),
        };
        let granted = admin.send("PUT", &format!("/v3/{of}/users/{user}/roles/{role_id}"), None).unwrap();
        assert_eq!(granted.status, 204, "{}", granted.text());
        let answer = authenticate_for(cloud.port, &name, "policy-secret", &scope).unwrap().expect(201);
        Self { role, place, api: Api::of(cloud.port, answer).unwrap() }
    }

    /// Whether a rule admits it, by what the rule says.
    fn passes(&self, rule: &Rule) -> bool {
        let has = |role: &str| match ["reader", "member", "manager", "admin"].iter().position(|r| *r == role) {
            Some(needed) => ["reader", "member", "manager", "admin"].iter().position(|r| *r == self.role).is_some_and(|has| has >= needed),
            None => self.role == role,
        };
        rule.who.iter().any(|who| match who {
            Who::Anyone | Who::Token => true,
            Who::Admin => has("admin"),
            Who::ProjectReader => self.place == Place::Project && has("reader"),
            Who::ProjectMember => self.place == Place::Project && has("member"),
            Who::ProjectManager => self.place == Place::Project && has("manager"),
            Who::DomainReader => self.place == Place::Domain && has("reader"),
            Who::DomainManager => self.place == Place::Domain && has("manager"),
            Who::SystemReader => self.place == Place::System && has("reader"),
            Who::Service => has("service"),
        })
    }
}

#[test]
fn every_route_admits_whom_its_rule_names_and_nobody_else() {
    let cloud = shared();
    let admin = cloud.api("admin");
    let personas = PERSONAS.map(|p| Persona::make(cloud, &admin, p));
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
        for persona in &personas {
            // Revoking one's own token would end the walk.
            if route.path.ends_with("/auth/tokens") {
                continue;
            }
            let status = send(&persona.api);
            let admitted = persona.passes(&route.rule);
            if status >= 500 || status == 0 || (admitted && status == 401) || (!admitted && status != 403) {
                let says = if admitted { "admits" } else { "forbids" };
                wrong.push(format!("{what} as {} of a {:?}: {status}, though the rule {says} it", persona.role, persona.place));
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
