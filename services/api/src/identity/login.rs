//! Reading the body of `POST /v3/auth/tokens`: how someone proves who they are, and where they want to act.

use crate::frame::{Ctx, Fault};
use serde_json::Value;
use std::str::FromStr;
use strata_events::DomainId;
use strata_projections::Cloud;

/// Who someone claims to be. The secret halves are not printed.
pub enum Proof {
    Password { user: Named, password: String },
    Token { id: String },
    ApplicationCredential { id: Option<String>, name: Option<String>, user: Option<Named>, secret: String },
}

/// A user or project by id, or by name in a domain.
pub struct Named {
    pub id: Option<String>,
    pub name: Option<String>,
    pub domain: Option<Value>,
}

/// Where the token shall hold.
pub enum Wanted {
    /// Not said: the user's default project, if there is one.
    Default,
    Unscoped,
    Project(Named),
    Domain(Value),
    System,
    /// Its id.
    Trust(String),
}

/// The whole question.
pub struct Login {
    pub proofs: Vec<Proof>,
    pub wanted: Wanted,
}

fn required(key: &str) -> Fault {
    Fault::bad_request(format!(
        "Expecting to find {key} in request body. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error."
    ))
}

fn text(value: &Value, key: &str) -> Result<Option<String>, Fault> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::bad_request(format!("Invalid input for field '{key}': a string is expected."))),
    }
}

fn object<'a>(value: &'a Value, key: &str) -> Result<&'a Value, Fault> {
    match value.get(key) {
        Some(found @ Value::Object(_)) => Ok(found),
        Some(_) => Err(Fault::bad_request(format!("Invalid input for field '{key}': an object is expected."))),
        None => Err(required(key)),
    }
}

fn named(value: &Value) -> Result<Named, Fault> {
    let named = Named { id: text(value, "id")?, name: text(value, "name")?, domain: value.get("domain").cloned() };
    match (&named.id, &named.name, &named.domain) {
        (None, None, _) => Err(required("id or name")),
        (None, Some(_), None) => Err(required("domain")),
        _ => Ok(named),
    }
}

impl Login {
    pub fn read(ctx: &Ctx) -> Result<Login, Fault> {
        let body = Value::Object(ctx.object()?);
        let auth = object(&body, "auth")?;
        let identity = object(auth, "identity")?;
        let methods = identity.get("methods").and_then(Value::as_array).ok_or_else(|| required("methods"))?;
        let mut proofs = vec![];
        for method in methods {
            let method = method.as_str().ok_or_else(|| Fault::bad_request("Invalid input for field 'methods': strings are expected."))?;
            proofs.push(match method {
                "password" => {
                    let user = object(object(identity, "password")?, "user")?;
                    Proof::Password { user: named(user)?, password: text(user, "password")?.ok_or_else(|| required("password"))? }
                }
                "token" => Proof::Token { id: text(object(identity, "token")?, "id")?.ok_or_else(|| required("id"))? },
                "application_credential" => {
                    let ask = object(identity, "application_credential")?;
                    let user = ask.get("user").map(named).transpose()?;
                    let (id, name) = (text(ask, "id")?, text(ask, "name")?);
                    if id.is_none() && (name.is_none() || user.is_none()) {
                        return Err(required("id, or name and user,"));
                    }
                    Proof::ApplicationCredential { id, name, user, secret: text(ask, "secret")?.ok_or_else(|| required("secret"))? }
                }
                _ => return Err(Fault::new(401, "Attempted to authenticate with an unsupported method.")),
            });
        }
        // Each proof costs an argon2 verification: a body can't ask for many.
        if proofs.is_empty() || proofs.len() > 3 {
            return Err(Fault::bad_request("Invalid input for field 'methods': one to three methods are expected."));
        }
        Ok(Login { proofs, wanted: wanted(auth.get("scope"))? })
    }
}

fn wanted(scope: Option<&Value>) -> Result<Wanted, Fault> {
    let Some(scope) = scope else { return Ok(Wanted::Default) };
    if scope.as_str() == Some("unscoped") {
        return Ok(Wanted::Unscoped);
    }
    let Value::Object(map) = scope else { return Err(Fault::bad_request("Invalid input for field 'scope': an object is expected.")) };
    if map.len() != 1 {
        return Err(Fault::bad_request(
            "Invalid input for field 'scope': exactly one of project, domain, system and unscoped is expected.",
        ));
    }
    if map.contains_key("unscoped") {
        return Ok(Wanted::Unscoped);
    }
    if let Some(project) = map.get("project") {
        return Ok(Wanted::Project(named(project)?));
    }
    if let Some(domain) = map.get("domain") {
        return Ok(Wanted::Domain(domain.clone()));
    }
    if let Some(trust) = map.get("OS-TRUST:trust") {
        return text(trust, "id")?.map(Wanted::Trust).ok_or_else(|| required("id"));
    }
    if map.get("system").and_then(|s| s.get("all")) == Some(&Value::Bool(true)) {
        return Ok(Wanted::System);
    }
    Err(Fault::bad_request("Invalid input for field 'scope': it must name a project, a domain, or the system with \"all\": true."))
}

/// The domain that `{"id": …}` or `{"name": …}` names.
pub fn find_domain(cloud: &Cloud, named: Option<&Value>) -> Option<DomainId> {
    let named = named?;
    if let Some(id) = named.get("id").and_then(Value::as_str) {
        return DomainId::from_str(id).ok().filter(|d| cloud.domains.contains(d));
    }
    cloud.domains.by_name(named.get("name")?.as_str()?).map(|d| d.id)
}
