//! What a handler gives back.

use super::Fault;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

/// A handler's result.
pub type Reply = Result<Answer, Fault>;

/// Status, headers and body of a success.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Answer {
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        // Views are plain data with string keys; writing them to memory can't fail.
        serde_json::to_writer(&mut bytes, body).unwrap_or_else(|e| unreachable!("a view is plain data: {e}"));
        Self::bytes(status, "application/json", bytes)
    }
    pub fn bytes(status: u16, content_type: &'static str, bytes: impl Into<bytes::Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        Self { status, headers, body: Body::from(bytes.into()) }
    }
    /// A body of unknown length, sent as it comes.
    pub fn stream(status: u16, content_type: &'static str, body: Body) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        Self { status, headers, body }
    }
    pub fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::empty() }
    }
    /// 200
    pub fn ok(body: &impl Serialize) -> Self {
        Self::json(200, body)
    }
    /// 201
    pub fn created(body: &impl Serialize) -> Self {
        Self::json(201, body)
    }
    /// 202
    pub fn accepted(body: &impl Serialize) -> Self {
        Self::json(202, body)
    }
    /// 204
    pub fn no_content() -> Self {
        Self::empty(204)
    }
    /// With one more header; a value that can't be one is left out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }
}
