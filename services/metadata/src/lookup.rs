//! From a path to a document.

use crate::{Guest, ec2, openstack};
use serde_json::Value;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    Json(Value),
    Text(String),
    Bytes(Vec<u8>),
    /// The user data, which the guest has and which were not given.
    UserData,
    /// The password that the guest may leave for its owner, once.
    Password,
}

impl Document {
    pub(crate) fn list(entries: Vec<&str>) -> Self {
        Document::Text(entries.join("\n"))
    }
    /// What it says, if it is known without asking.
    pub fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Document::Json(value) => Some(value.to_string().into_bytes()),
            Document::Text(text) => Some(text.into_bytes()),
            Document::Bytes(bytes) => Some(bytes),
            Document::UserData | Document::Password => None,
        }
    }
    pub fn content_type(&self) -> &'static str {
        match self {
            Document::Json(_) => "application/json",
            Document::Text(_) | Document::Password => "text/plain; charset=UTF-8",
            Document::Bytes(_) | Document::UserData => "application/octet-stream",
        }
    }
}

/// What a request's path leads to; none: nothing is there. Slashes too many, `.` and `..` mean what they mean in a file system.
pub fn lookup(guest: &Guest<'_>, path: &str) -> Option<Document> {
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.as_slice() {
        ["openstack", rest @ ..] => openstack::lookup(guest, rest),
        ["ec2", rest @ ..] => ec2::lookup(guest, rest),
        rest => ec2::lookup(guest, rest),
    }
}
