//! Faults: the one place that makes error answers. Each service has its own envelope, as its clients expect it.
//! Sources: nova/api/openstack/wsgi.py (names), keystone's error body, neutron's NeutronError, glance's webob pages,
//! keystonemiddleware's 401.

use super::{Answer, Service};
use serde_json::json;
use strata_conductor::{Class, Refusal};
use strata_writer::Failure;

/// Why a call failed: a status and a sentence that tells what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub status: u16,
    /// Neutron's `type`; other services don't tell it.
    pub kind: &'static str,
    pub message: String,
    /// seconds
    pub retry_after: Option<u32>,
}

impl Fault {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let kind = match status {
            400 => "HTTPBadRequest",
            401 => "HTTPUnauthorized",
            403 => "HTTPForbidden",
            404 => "HTTPNotFound",
            405 => "HTTPMethodNotAllowed",
            409 => "HTTPConflict",
            413 => "HTTPRequestEntityTooLarge",
            _ => "HTTPInternalServerError",
        };
        Self { status, kind, message: message.into(), retry_after: None }
    }
    pub fn with_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }
    pub fn unauthorized() -> Self {
        Self::new(401, "The request you have made requires authentication.")
    }
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }
    /// Not now: the client may come again after some seconds.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(503, message) }
    }
    /// What a rule refuses, in the service's words.
    pub fn policy(service: Service, rule: &str) -> Self {
        match service {
            Service::Compute => Self::forbidden(format!("Policy doesn't allow {rule} to be performed.")),
            Service::Identity => Self::forbidden(format!("You are not authorized to perform the requested action: {rule}.")),
            Service::Network => Self::forbidden(format!("(rule:{rule}) is disallowed by policy")).with_kind("PolicyNotAuthorized"),
            Service::Image => Self::forbidden(format!("You are not authorized to complete {rule} action.")),
            Service::Strata => Self::forbidden(format!("This takes the rule {rule}.")),
        }
    }
    /// A refusal of the rules, with this service's status for its class.
    pub fn refused(service: Service, refusal: Refusal) -> Self {
        let status = match refusal.class {
            Class::Invalid => 400,
            Class::Forbidden => 403,
            Class::NotFound => 404,
            Class::Conflict => 409,
            Class::OverQuota => match service {
                Service::Network => 409,
                Service::Image => 413,
                _ => 403,
            },
            Class::TooLarge => 413,
            Class::Unavailable => 503,
        };
        let retry_after = (status == 503).then_some(1);
        Self { status, kind: refusal.kind, message: refusal.message, retry_after }
    }
    pub fn failed(service: Service, failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::refused(service, refusal),
            Failure::Busy => Self::busy("Too many requests are waiting; try again in a moment."),
            Failure::Unavailable(_) => Self::busy("The event log can't be reached at the moment; nothing was changed. Try again."),
        }
    }

    /// The answer in the service's own envelope. `html`: the client prefers it (Glance only).
    pub fn render(&self, service: Service, accepts_json: bool) -> Answer {
        let Fault { status, kind, message, .. } = self;
        let title = title(*status);
        let mut answer = if *status == 401 || (service == Service::Identity) || service == Service::Strata {
            Answer::json(*status, &json!({"error": {"code": status, "message": message, "title": title}}))
        } else {
            match service {
                Service::Compute => Answer::json(*status, &json!({compute_name(*status): {"code": status, "message": message}})),
                Service::Network => Answer::json(*status, &json!({"NeutronError": {"type": kind, "message": message, "detail": ""}})),
                _ if accepts_json => {
                    Answer::json(*status, &json!({"message": format!("{}<br /><br />\n\n\n", escape(message)), "code": format!("{status} {title}"), "title": title}))
                }
                _ => Answer::bytes(
                    *status,
                    "text/html; charset=UTF-8",
                    format!(
                        "<html>\n <head>\n  <title>{status} {title}</title>\n </head>\n <body>\n  <h1>{status} {title}</h1>\n  {}<br /><br />\n\n\n\n </body>\n</html>",
                        escape(message)
                    )
                    .into_bytes(),
                ),
            }
        };
        if let Some(seconds) = self.retry_after {
            answer = answer.header("retry-after", &seconds.to_string());
        }
        if *status == 401 {
            answer = answer.header("www-authenticate", "Keystone uri=\"/identity\"");
        }
        answer
    }
}

impl From<strata_events::BadId> for Fault {
    fn from(bad: strata_events::BadId) -> Self {
        Fault::bad_request(bad.to_string())
    }
}

fn compute_name(status: u16) -> &'static str {
    match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

fn title(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
