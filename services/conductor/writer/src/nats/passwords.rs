//! Guests leave passwords for their owners, through the metadata service of their host. What was left is in the log before the
//! guest is told so.

use super::Link;
use crate::{Conductor, Failure, now};
use strata_conductor::decide::instance::KeepPassword;
use strata_conductor::{Class, Context};
use strata_events::{Actor, HostName};
use strata_projections::report::{PasswordAnswer, PasswordReport};

const AT_ONCE: usize = 16;

pub(super) async fn run(link: &Link, conductor: &Conductor) {
    super::answer(link, "report.*.password", AT_ONCE, |host, payload| {
        let conductor = conductor.clone();
        async move { keep(&conductor, host, &payload).await }
    })
    .await;
}

async fn keep(conductor: &Conductor, host: HostName, payload: &[u8]) -> PasswordAnswer {
    let ask: PasswordReport = match serde_json::from_slice(payload) {
        Ok(ask) => ask,
        Err(e) => return PasswordAnswer::Refused { reason: format!("the message can't be read: {e}") },
    };
    let request_id = format!("req-{}", crate::reactions::uuid_v4());
    let ctx = Context { now: now(), actor: Actor::Host { host: host.clone() }, request_id, caused_by: None };
    match conductor.run(ctx, KeepPassword { host, id: ask.id, password: ask.password }).await {
        Ok(_) => PasswordAnswer::Kept,
        Err(Failure::Refused(refusal)) if refusal.class == Class::Conflict => PasswordAnswer::There,
        Err(Failure::Refused(refusal)) => PasswordAnswer::Refused { reason: refusal.message },
        Err(failure) => PasswordAnswer::Later { reason: failure.to_string() },
    }
}
