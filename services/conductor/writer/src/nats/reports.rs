//! Hosts report; each observation becomes a command. The subject names the host, and only that host's credentials let anyone
//! publish on it. "Taken" is answered when all of it is durable; whatever went wrong, the host says it again.

use super::{Link, pause};
use crate::{Conductor, Failure, now};
use futures_util::StreamExt;
use futures_util::future::join_all;
use std::sync::Arc;
use strata_conductor::decide::report::Observe;
use strata_conductor::{Class, Command, Context};
use strata_events::{Actor, HostName};
use strata_projections::Cloud;
use strata_projections::report::{Answer, BATCH, Report, Reports};
use tokio::sync::Semaphore;

/// How many messages are worked on at the same time; the others wait in NATS.
const AT_ONCE: usize = 64;

pub(super) async fn run(link: &Link, conductor: &Conductor) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut connected = link.connected.clone();
    let mut failures = 0;
    loop {
        // In a group: each message goes to one replica.
        match link.client.queue_subscribe("report.*.observed", "conductor".into()).await {
            Ok(mut messages) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let (conductor, client) = (conductor.clone(), link.client.clone());
                    tokio::spawn(async move {
                        let answer = take(&conductor, &message).await;
                        if let Some(reply) = message.reply {
                            let body = serde_json::to_vec(&answer).unwrap_or_else(|e| unreachable!("plain data: {e}"));
                            // Lost, the host asks again.
                            let _ = client.publish(reply, body.into()).await;
                        }
                        drop(permit);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "can't listen for reports"),
        }
        failures += 1;
        pause(failures, &mut connected).await;
    }
}

async fn take(conductor: &Conductor, message: &async_nats::Message) -> Answer {
    let host = message.subject.split('.').nth(1).unwrap_or_default();
    let reports = match serde_json::from_slice::<Reports>(&message.payload) {
        Ok(Reports { reports }) if reports.len() <= BATCH => reports,
        Ok(_) => return Answer::Refused { reason: format!("more than {BATCH} observations in one message") },
        Err(e) => return Answer::Refused { reason: format!("the message can't be read: {e}") },
    };
    observe(conductor, &HostName::from(host), reports).await
}

/// Turns a host's observations into commands, and answers when what follows from them is durable.
pub async fn observe(conductor: &Conductor, host: &HostName, reports: Vec<Report>) -> Answer {
    let latest = conductor.latest();
    let (news, stale): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .map(|report| Observe { host: host.clone(), report })
        .partition(|command| matches!(command.decide(&latest, &context(&latest, command)), Ok(events) if !events.is_empty()));
    let mut commands = news;
    if !stale.is_empty() {
        // Nothing follows from these, as far as is known here: most are repetitions. Be sure before saying so.
        let sure = match conductor.cloud().await {
            Ok(cloud) => cloud,
            Err(failure) => return Answer::Later { reason: failure.to_string() },
        };
        for command in stale {
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
    Answer::Taken
}

/// A report follows from the request that the thing's last action began with.
fn context(cloud: &Cloud, command: &Observe) -> Context {
    let instance = match &command.report {
        Report::Instance { id, .. } | Report::InstanceAbsent { id, .. } | Report::InstanceFailed { id, .. } => Some(*id),
        Report::PortPlugged { id } | Report::PortFailed { id, .. } | Report::PortAbsent { id } => {
            cloud.ports.get(id).and_then(|p| p.attributes.device_id.parse().ok())
        }
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
