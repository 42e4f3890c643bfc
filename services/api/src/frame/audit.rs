//! The audit record of a mutating call.
//!
//! **Invariant 8: each leaves exactly one**, whatever comes of it. Where events tell who did what, they are the record. Of any
//! other call (refused, or accepted with nothing to change, or given up by its client) a row beside the log tells. Of a call
//! that changed something and was refused further on both tell: readers of the trail join them by the request's id.

use super::{App, now};
use axum::http::Request;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use strata_events::{Actor, ProjectId, UserId};
use strata_log::AuditedCall;

/// What becomes known of a call while it is carried out.
#[derive(Debug, Default)]
pub struct Trail {
    who: OnceLock<(UserId, Option<ProjectId>)>,
    in_log: AtomicBool,
    only_looked: AtomicBool,
}

impl Trail {
    /// Names the caller; the first one named stays.
    pub fn is(&self, user: UserId, project: Option<ProjectId>) {
        let _ = self.who.set((user, project));
    }
    /// An event of this actor was committed: if it names the user, the log is the record.
    pub fn committed(&self, actor: &Actor) {
        if matches!(actor, Actor::User { .. }) {
            self.in_log.store(true, Ordering::Relaxed);
        }
    }
    /// It changes nothing by its nature, and is a POST all the same: no record if it is answered.
    pub fn only_looks(&self) {
        self.only_looked.store(true, Ordering::Relaxed);
    }
}

/// A record that is being made. One that is never closed tells that its client went away.
pub(super) struct Record {
    app: Arc<App>,
    trail: Arc<Trail>,
    request_id: String,
    peer: IpAddr,
    action: String,
    closed: bool,
}

/// No answer was sent, because nobody waited for it any more (nginx's number for it).
const NOBODY_WAITS: u16 = 499;

impl Record {
    pub fn open<B>(app: &Arc<App>, request_id: &str, peer: IpAddr, request: &Request<B>, trail: &Arc<Trail>) -> Self {
        let action = format!("{} {}", request.method(), request.uri().path());
        Self { app: app.clone(), trail: trail.clone(), request_id: request_id.into(), peer, action, closed: false }
    }

    pub fn close(mut self, outcome: u16, reason: &str) {
        self.leave(outcome, reason);
    }

    fn leave(&mut self, outcome: u16, reason: &str) {
        self.closed = true;
        let told = self.trail.in_log.load(Ordering::Relaxed) || self.trail.only_looked.load(Ordering::Relaxed);
        if outcome < 400 && told {
            return;
        }
        let who = self.trail.who.get();
        tracing::debug!(request_id = self.request_id, ?who, peer = %self.peer, action = self.action, outcome, reason, "audited");
        self.app.conductor.audit(AuditedCall {
            at: now(),
            request_id: std::mem::take(&mut self.request_id),
            user: who.map(|(user, _)| user.to_string()),
            project: who.and_then(|(_, project)| project.as_ref()).map(ProjectId::to_string),
            from: self.peer.to_string(),
            action: std::mem::take(&mut self.action),
            outcome,
            reason: reason.into(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.closed {
            self.leave(NOBODY_WAITS, "The client went away before it was answered; what it asked may have been done.");
        }
    }
}
