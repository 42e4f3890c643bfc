//! Runs what follows: after each commit by this replica the reactions to its events, and, where the conductor service runs,
//! the sweep, which also finds follow-up work that a crash cut off.

use crate::handle::{Conductor, Failure};
use crate::now;
use crate::tip::Applied;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use strata_conductor::{Command, Context, react};
use strata_events::Actor;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};

/// How much follow-up work may be under way at once.
const UNDER_WAY: usize = 256;
/// How often the sweep looks.
const SWEEP: Duration = Duration::from_secs(1);

pub(crate) async fn run(conductor: Conductor, mut applied: broadcast::Receiver<Applied>) {
    let permits = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        let step = match applied.recv().await {
            Ok(step) if step.local => step,
            Ok(_) => continue,
            // Too slow: what was missed is found by the sweep, as after a crash.
            Err(RecvError::Lagged(steps)) => {
                tracing::warn!(steps, "reactions fell behind; the sweep will find what they missed");
                sweep_once(&conductor).await;
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        for recorded in step.events.iter() {
            for command in react::react(&step.after, recorded) {
                let ctx = Context {
                    now: now(),
                    actor: Actor::service("conductor"),
                    request_id: recorded.request_id.clone(),
                    caused_by: Some(recorded.position),
                };
                // The permits are never closed.
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let conductor = conductor.clone();
                tokio::spawn(async move {
                    carry_out(&conductor, ctx, command).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn carry_out(conductor: &Conductor, ctx: Context, command: Box<dyn Command>) {
    let what = format!("{command:?}");
    match conductor.run_patiently(ctx, command).await {
        Ok(_) => {}
        Err(Failure::Refused(refusal)) => tracing::debug!(what, %refusal, "follow-up work is no longer wanted"),
        Err(failure) => tracing::warn!(what, %failure, "follow-up work was not done; the sweep will find it"),
    }
}

/// Does what is due now. Harmless when several replicas do it: every command is idempotent.
pub(crate) async fn sweep_once(conductor: &Conductor) {
    let Ok(cloud) = conductor.cloud().await else { return };
    let commands = react::sweep(&cloud, now());
    drop(cloud);
    let all = commands.into_iter().map(|command| {
        let request_id = format!("req-{}", uuid_v4());
        carry_out(conductor, Context { now: now(), actor: Actor::service("conductor"), request_id, caused_by: None }, command)
    });
    // Together, so that they share commits.
    futures_util::stream::iter(all).for_each_concurrent(UNDER_WAY, |f| f).await;
}

impl Conductor {
    /// Sweeps every second, for ever: run by the conductor service.
    pub async fn sweep(&self) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            sweep_once(self).await;
        }
    }
}

pub(crate) fn uuid_v4() -> uuid::Uuid {
    let mut bytes = [0; 16];
    // Without randomness an id made of the time is still unique enough for a request's name.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&now().0.to_be_bytes());
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
