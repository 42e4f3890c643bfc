//! The way of a request through the frame.

use super::audit::{Record, Trail};
use super::routes::Found;
use super::{App, Ctx, Fault, Query, Raw, Reply, Service, microversion};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strata_events::Timestamp;

/// Answers one request. Never fails: what goes wrong is a fault in the service's shape.
pub async fn dispatch(app: Arc<App>, peer: IpAddr, request: Request<Body>) -> Response<Body> {
    let service = Service::of_path(request.uri().path());
    let request_id = format!("req-{}", new_uuid().hyphenated());
    let head = request.method() == Method::HEAD;
    let accepts_json = request.headers().get("accept").and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("json"));
    let mutating = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let trail = Arc::<Trail>::default();
    let record = mutating.then(|| Record::open(&app, &request_id, peer, &request, &trail));

    let (reply, version) = match app.slots.clone().try_acquire_owned() {
        Ok(_slot) => handle(&app, service, &request_id, peer, request, trail).await,
        Err(_) => (Err(Fault::busy("Too many requests at once; try again in a moment.")), None),
    };
    if let Some(record) = record {
        match &reply {
            Ok(answer) => record.close(answer.status, ""),
            Err(fault) => record.close(fault.status, &fault.message),
        }
    }
    let answer = reply.unwrap_or_else(|fault| fault.render(service, accepts_json));
    let mut response = answer.into_response();
    if head {
        *response.body_mut() = Body::empty();
    }
    if let Some(version) = version {
        microversion::tell(service, version, response.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        if service == Service::Compute {
            response.headers_mut().insert("x-compute-request-id", id.clone());
        }
        response.headers_mut().insert("x-openstack-request-id", id);
    }
    if service == Service::Identity && !response.headers().contains_key("vary") {
        response.headers_mut().insert("vary", HeaderValue::from_static("X-Auth-Token"));
    }
    response
}

type Handled = (Reply, Option<super::Microversion>);

async fn handle(app: &Arc<App>, service: Service, request_id: &str, peer: IpAddr, request: Request<Body>, trail: Arc<Trail>) -> Handled {
    let (parts, body) = request.into_parts();
    let version = match microversion::negotiate(service, parts.uri.path(), &parts.headers) {
        Ok(version) => version,
        Err(fault) => return (Err(fault), None),
    };
    let (route, params) = match app.routes.find(&parts.method, parts.uri.path(), version) {
        Found::Route(route, params) => (route, params),
        Found::OtherMethods(methods) => {
            let fault = Fault::new(405, format!("The method {} is not allowed for this resource; it has {methods}.", parts.method));
            return (fault_with_allow(fault, service, &methods), Some(version));
        }
        Found::Nothing => return (Err(Fault::not_found("The resource could not be found.")), Some(version)),
    };
    let reply = async {
        let cloud = app.conductor.cloud().await.map_err(|f| Fault::failed(service, f))?;
        let now = now();
        let token = parts.headers.get("x-auth-token").map(|t| t.to_str().unwrap_or_default());
        let caller = match token {
            Some(token) if !route.rule.is_public() => Some(crate::identity::authenticate(app, &cloud, now, token)?),
            _ => None,
        };
        if let Some(caller) = &caller {
            trail.is(caller.user, caller.project());
        }
        if !route.rule.is_public() {
            let caller = caller.as_ref().ok_or_else(Fault::unauthorized)?;
            if !route.rule.admits(caller) {
                return Err(Fault::policy(service, route.rule.name));
            }
            if !crate::identity::admits(&cloud, caller, service, parts.method.as_str(), parts.uri.path()) {
                return Err(Fault::unauthorized());
            }
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let raw = if route.streams {
            Raw::Stream(std::sync::Mutex::new(body))
        } else {
            Raw::Read(read(body, &parts.headers, service.body_limit()).await?)
        };
        let ctx = Ctx {
            app: app.clone(),
            route: route.clone(),
            request_id: request_id.to_owned(),
            caller,
            version,
            params,
            query,
            base: base(app, &parts.headers),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            raw,
            peer,
            now,
            cloud,
            trail,
        };
        (route.handler)(ctx).await
    }
    .await;
    (reply, Some(version))
}

fn fault_with_allow(fault: Fault, service: Service, methods: &str) -> Reply {
    Ok(fault.render(service, true).header("allow", methods))
}

async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<bytes::Bytes, Fault> {
    let too_large = || Fault::new(413, format!("The request body is too large; at most {limit} bytes are read."));
    if let Some(length) = headers.get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok())
        && length > limit as u64
    {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(_) => Err(Fault::bad_request("The request body broke off.")),
    }
}

/// How the client reached us, for links: by its Host header, which is text until proven a host.
fn base(app: &App, headers: &HeaderMap) -> String {
    let host = headers.get("host").and_then(|v| v.to_str().ok());
    let fine = |h: &&str| !h.is_empty() && h.len() <= 255 && h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    match host.filter(fine) {
        Some(host) if app.tls.load(std::sync::atomic::Ordering::Relaxed) => format!("https://{host}"),
        Some(host) => format!("http://{host}"),
        None => app.config.fallback_base.clone(),
    }
}

/// The one clock of the API.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The one source of ids of the API: version 4.
pub(crate) fn new_uuid() -> uuid::Uuid {
    let mut bytes = [0; 16];
    // The kernel's generator fails only before it is seeded, in early boot; nothing safe can be done without it.
    getrandom::fill(&mut bytes).unwrap_or_else(|e| panic!("no random bytes from the kernel: {e}"));
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
