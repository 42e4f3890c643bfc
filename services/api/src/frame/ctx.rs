//! What a handler knows of its request, and how it asks for change.

use super::{Caller, Fault, Microversion, Params, Query, Raw, Route, Rule, Service, Trail, app::App, body};
use axum::http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;
use strata_conductor::{Command, Context};
use strata_events::{Actor, ProjectId, Timestamp};
use strata_projections::Cloud;
use strata_writer::Done;

/// One request, authenticated and admitted by its route's rule.
pub struct Ctx {
    pub app: Arc<App>,
    pub route: Arc<Route>,
    /// `req-<uuid>`
    pub request_id: String,
    /// None only on public routes.
    pub caller: Option<Arc<Caller>>,
    pub version: Microversion,
    pub params: Params,
    pub query: Query,
    pub headers: HeaderMap,
    /// The path as it was asked for.
    pub path: String,
    pub raw: Raw,
    /// `http://host:port` by which the client reached the API: links begin with it.
    pub base: String,
    pub peer: IpAddr,
    pub now: Timestamp,
    /// The state, at least as new as the request.
    pub cloud: Arc<Cloud>,
    /// What the audit trail will tell.
    pub trail: Arc<Trail>,
}

impl Ctx {
    pub fn service(&self) -> Service {
        self.route.service
    }
    /// The caller; on a route that is public and came without a token this is a 401.
    pub fn caller(&self) -> Result<&Caller, Fault> {
        self.caller.as_deref().ok_or_else(Fault::unauthorized)
    }
    /// The project that the token is for.
    pub fn project(&self) -> Result<ProjectId, Fault> {
        self.caller()?.project().ok_or_else(|| Fault::forbidden("This call needs a token that is scoped to a project."))
    }
    pub fn is_admin(&self) -> bool {
        self.caller.as_ref().is_some_and(|c| c.is_admin())
    }
    /// Whether the caller may see things of this project.
    pub fn sees(&self, project: &ProjectId) -> bool {
        self.caller.as_ref().is_some_and(|c| c.is_admin() || c.project() == Some(*project))
    }
    /// Whether the caller may change things of this project.
    pub fn owns(&self, project: &ProjectId) -> bool {
        self.caller.as_ref().is_some_and(|c| c.is_admin() || (c.project() == Some(*project) && c.has_role("member")))
    }
    /// Admits by a further rule, as where a field or a query parameter takes more rights than the call.
    pub fn require(&self, rule: Rule) -> Result<(), Fault> {
        match &self.caller {
            Some(caller) if rule.admits(caller) => Ok(()),
            Some(_) => Err(Fault::policy(self.service(), rule.name)),
            None => Err(Fault::unauthorized()),
        }
    }
    /// A path parameter; a route's handler asks only for those that its path has.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).unwrap_or_default()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as a JSON object.
    pub fn object(&self) -> Result<Map<String, Value>, Fault> {
        match &self.raw {
            Raw::Read(bytes) => body::object(self.service(), bytes),
            _ => Ok(Map::new()),
        }
    }
    /// The value of the body's one key: `{"keypair": …}`. Any other key is refused.
    pub fn body<T: DeserializeOwned>(&self, key: &str) -> Result<T, Fault> {
        let mut object = self.object()?;
        let value = self.take(&mut object, key)?;
        if let Some(other) = object.keys().next() {
            return Err(Fault::bad_request(format!("Additional properties are not allowed ('{other}' was unexpected)")));
        }
        self.typed(key, value)
    }
    /// Takes a required key out of a body, for bodies that hold several.
    pub fn take(&self, object: &mut Map<String, Value>, key: &str) -> Result<Value, Fault> {
        match object.remove(key) {
            Some(value @ Value::Object(_)) => Ok(value),
            Some(_) => Err(Fault::bad_request(format!("Invalid input for field/attribute {key}. It must be an object."))),
            None => Err(match self.service() {
                Service::Identity => Fault::bad_request(format!("'{key}' is a required property")),
                Service::Network => Fault::bad_request(format!("Unable to find '{key}' in request body")),
                _ => Fault::bad_request(format!("'{key}' is a required property: send {{\"{key}\": {{…}}}}.")),
            }),
        }
    }
    /// A typed value; `within` names it in a fault.
    pub fn typed<T: DeserializeOwned>(&self, within: &str, value: Value) -> Result<T, Fault> {
        body::typed(self.service(), within, value)
    }
    /// The body's stream, for routes that stream. It can be taken once; then it is empty.
    pub fn take_stream(&self) -> axum::body::Body {
        match &self.raw {
            Raw::Stream(body) => std::mem::take(&mut *body.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
            Raw::Read(bytes) => axum::body::Body::from(bytes.clone()),
        }
    }

    /// Has a command decided and committed. A refusal becomes this service's fault.
    pub async fn run(&self, command: impl Command) -> Result<Done, Fault> {
        self.run_as(self.context(), command).await
    }
    /// The same in a context of the handler's own making.
    pub async fn run_as(&self, context: Context, command: impl Command) -> Result<Done, Fault> {
        let actor = context.actor.clone();
        let done = self.app.conductor.run(context, command).await.map_err(|f| Fault::failed(self.service(), f))?;
        if !done.events.is_empty() {
            self.trail.committed(&actor);
        }
        Ok(done)
    }
    /// Who asks, when, and in which request.
    pub fn context(&self) -> Context {
        let from = self.peer.to_string();
        let actor = match &self.caller {
            Some(c) => Actor::User { user: c.user, project: c.project(), from },
            None => Actor::service("api"),
        };
        Context { now: self.now, actor, request_id: self.request_id.clone(), caused_by: None }
    }
    /// The state now, for a handler that waited.
    pub async fn fresh(&self) -> Result<Arc<Cloud>, Fault> {
        self.app.conductor.cloud().await.map_err(|f| Fault::failed(self.service(), f))
    }
}
