//! Hosts report; each observation becomes a command. The subject names the host, and only that host's credentials let anyone
//! publish on it. "Taken" is answered when all of it is durable; whatever went wrong, the host says it again.

use super::Link;
use crate::{Conductor, Failure, now};
use futures_util::future::join_all;
use strata_conductor::decide::report::Observe;
use strata_conductor::{Class, Command, Context};
use strata_events::instance::InstanceEvent;
use strata_events::{Actor, Event, HostName, InstanceId, PortId, Stream};
use strata_projections::Cloud;
use strata_projections::cloud::instance::Wanted;
use strata_projections::report::{Answer, BATCH, Report, Reports};

/// How many messages are worked on at the same time.
const AT_ONCE: usize = 64;

pub(super) async fn run(link: &Link, conductor: &Conductor) {
    super::answer(link, "report.*.observed", AT_ONCE, |host, payload| {
        let conductor = conductor.clone();
        async move { take(&conductor, &host, &payload).await }
    })
    .await;
}

async fn take(conductor: &Conductor, host: &HostName, payload: &[u8]) -> Answer {
    let reports = match serde_json::from_slice::<Reports>(payload) {
        Ok(Reports { reports }) if reports.len() <= BATCH => reports,
        Ok(_) => return Answer::Refused { reason: format!("more than {BATCH} observations in one message") },
        Err(e) => return Answer::Refused { reason: format!("the message can't be read: {e}") },
    };
    observe(conductor, host, reports).await
}

/// Turns a host's observations into commands, and answers when what follows from them is durable.
pub async fn observe(conductor: &Conductor, host: &HostName, reports: Vec<Report>) -> Answer {
    let latest = conductor.latest();
    let (news, stale): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .map(|report| Observe { host: host.clone(), report })
        .partition(|command| matches!(command.decide(&latest, &context(&latest, command)), Ok(events) if !events.is_empty()));
    let mut commands = news;
    let (mut ports, mut instances, mut position) = (vec![], vec![], 0);
    if !stale.is_empty() {
        // Nothing follows from these, as far as is known here: most are repetitions. Be sure before saying so.
        let sure = match conductor.cloud().await {
            Ok(cloud) => cloud,
            Err(failure) => return Answer::Later { reason: failure.to_string() },
        };
        position = sure.position;
        for command in stale {
            match &command.report {
                _ if !sure.hosts.contains(host) => {}
                Report::PortPlugged { id } if !belongs(&sure, host, id) => ports.push(*id),
                Report::Instance { id, .. } | Report::InstanceFailed { id, .. } => match was_given_up(conductor, &sure, id).await {
                    Ok(true) => instances.push(*id),
                    Ok(false) => {}
                    Err(e) => return Answer::Later { reason: e.to_string() },
                },
                _ => {}
            }
            match command.decide(&sure, &context(&sure, &command)) {
                Ok(events) if events.is_empty() => {}
                Ok(_) => commands.push(command),
                Err(refusal) if refusal.class == Class::NotFound => return Answer::Refused { reason: refusal.message },
                Err(refusal) => tracing::warn!(%host, %refusal, "a report is refused"),
            }
        }
    }
    // Together, so that they share a commit.
    let outcomes = join_all(commands.into_iter().map(|command| {
        let ctx = context(&latest, &command);
        conductor.run(ctx, command)
    }));
    for outcome in outcomes.await {
        match outcome {
            Ok(_) => {}
            Err(Failure::Refused(refusal)) if refusal.class == Class::Unavailable => return Answer::Later { reason: refusal.message },
            Err(Failure::Refused(refusal)) => tracing::warn!(%host, %refusal, "a report is refused"),
            Err(failure) => return Answer::Later { reason: failure.to_string() },
        }
    }
    if ports.is_empty() && instances.is_empty() { Answer::Taken } else { Answer::Strays { position, ports, instances } }
}

/// Whether nothing of a server is to be left on any host: its host has said so before, or the log itself ends with its deletion. One
/// that is merely not known (a log brought back from an older copy) may be dear to someone.
async fn was_given_up(conductor: &Conductor, cloud: &Cloud, id: &InstanceId) -> Result<bool, strata_log::LogError> {
    if let Some(known) = cloud.instances.get(id) {
        return Ok(known.host.is_none() && known.wanted == Wanted::Absent);
    }
    let stream = Stream { kind: "instance".into(), id: id.to_string() };
    let end = conductor.log().stream_end(&stream).await?;
    let deleted = end.is_some_and(|last| matches!(last.event, Event::Instance(InstanceEvent::InstanceDeleted { .. })));
    if !deleted {
        tracing::warn!(instance = %id, "a host has a server that the log does not know; it is left alone");
    }
    Ok(deleted)
}

/// Whether a port is this host's, or is just leaving it.
fn belongs(cloud: &Cloud, host: &HostName, id: &PortId) -> bool {
    cloud.ports.is_remnant(host, id) || cloud.ports.get(id).is_some_and(|p| p.binding.as_ref().is_some_and(|b| b.host == *host))
}

/// A report follows from the request that the thing's last action began with.
fn context(cloud: &Cloud, command: &Observe) -> Context {
    let instance = match &command.report {
        Report::Instance { id, .. } | Report::InstanceAbsent { id, .. } | Report::InstanceFailed { id, .. } => Some(*id),
        Report::PortPlugged { id } | Report::PortFailed { id, .. } | Report::PortAbsent { id } => cloud.instances.holding(id).map(|i| i.id),
        Report::Inventory { .. } => None,
    };
    let instance = instance.and_then(|id| cloud.instances.get(&id));
    let action = instance.and_then(|i| i.actions.last().map(|a| a.request_id.clone()));
    Context {
        now: now(),
        actor: Actor::Host { host: command.host.clone() },
        request_id: action.unwrap_or_else(|| format!("req-{}", crate::reactions::uuid_v4())),
        caused_by: instance.map(|i| i.cause),
    }
}
