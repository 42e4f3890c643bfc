//! A token as clients see it, and the catalog in it. Source: identity api-ref, "Authentication and token management".

use super::cache::Entry;
use crate::frame::{Caller, Scope};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strata_events::{ProjectId, ServiceId};
use strata_projections::Cloud;
use strata_projections::cloud::catalog::Endpoint;

/// `{"token": …}`.
pub fn token(cloud: &Cloud, base: &str, entry: &Entry, caller: &Caller, with_catalog: bool) -> Value {
    let user = cloud.users.get(&caller.user);
    let expires = user.and_then(|u| u.password_expires_at).map(|t| t.micros());
    let mut view = json!({
        "methods": caller.methods,
        "user": {
            "id": caller.user,
            "name": caller.user_name,
            "domain": { "id": caller.user_domain, "name": caller.user_domain_name },
            "password_expires_at": expires,
        },
        "audit_ids": caller.audit_ids,
        "expires_at": caller.expires_at.micros(),
        "issued_at": caller.issued_at.micros(),
    });
    match &caller.scope {
        Scope::Unscoped => return json!({ "token": view }),
        Scope::System => view["system"] = json!({ "all": true }),
        Scope::Domain { id, name } => view["domain"] = json!({ "id": id, "name": name }),
        Scope::Project { id, name, domain, domain_name } => {
            view["project"] = json!({ "id": id, "name": name, "domain": { "id": domain, "name": domain_name } });
            view["is_domain"] = json!(false);
        }
    }
    view["roles"] = caller.roles.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    if let Some(trust) = entry.token.trust.and_then(|id| cloud.trusts.get(&id)) {
        view["OS-TRUST:trust"] = json!({
            "id": trust.id,
            "trustor_user": { "id": trust.trustor },
            "trustee_user": { "id": trust.trustee },
            "impersonation": trust.impersonation,
        });
    }
    if let Some(credential) = entry.token.application_credential.and_then(|id| cloud.application_credentials.get(&id)) {
        view["application_credential"] = json!({ "id": credential.id, "name": credential.name, "restricted": !credential.unrestricted });
        if !credential.access_rules.is_empty() {
            let rules = credential.access_rules.iter().filter_map(|id| cloud.access_rules.get(id));
            view["application_credential"]["access_rules"] =
                rules.map(|r| json!({ "id": r.id, "service": r.service, "method": r.method, "path": r.path })).collect();
        }
    }
    if with_catalog {
        view["catalog"] = catalog(cloud, base, caller.project());
    }
    json!({ "token": view })
}

/// The enabled services with their endpoints, as seen from one project.
pub fn catalog(cloud: &Cloud, base: &str, project: Option<ProjectId>) -> Value {
    let mut endpoints: BTreeMap<ServiceId, Vec<Value>> = BTreeMap::new();
    for endpoint in cloud.catalog.endpoints.values().filter(|e| e.enabled) {
        if let Some(url) = url(endpoint, base, project) {
            endpoints.entry(endpoint.service).or_default().push(json!({
                "id": endpoint.id,
                "interface": endpoint.interface,
                "region": endpoint.region,
                "region_id": endpoint.region,
                "url": url,
            }));
        }
    }
    let services = cloud.catalog.services.values().filter(|s| s.enabled);
    services
        .map(|s| {
            json!({
                "id": s.id,
                "type": s.kind,
                "name": s.name.as_deref().unwrap_or_default(),
                "endpoints": endpoints.remove(&s.id).unwrap_or_default(),
            })
        })
        .collect()
}

/// The address with its placeholders filled in. None: it needs a project and the token has none.
fn url(endpoint: &Endpoint, base: &str, project: Option<ProjectId>) -> Option<String> {
    let mut url = endpoint.url.replace("$(base)s", base);
    for placeholder in ["$(project_id)s", "%(project_id)s", "$(tenant_id)s", "%(tenant_id)s"] {
        if url.contains(placeholder) {
            url = url.replace(placeholder, &project?.to_string());
        }
    }
    Some(url)
}
