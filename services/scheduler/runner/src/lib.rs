//! The scheduler's loop: an activation takes no input, it looks at the cloud and asks for what is missing. Commits wake it,
//! and a look every second backs that up, so a lost wake-up costs a second. Any number of replicas may run: placement is
//! decided under the log's head, and a second answer to the same question changes nothing.

use futures_util::StreamExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strata_conductor::Context;
use strata_conductor::decide::instance::{MarkUnplaceable, PlaceInstance};
use strata_events::{Actor, InstanceId, Timestamp};
use strata_projections::Cloud;
use strata_scheduler::{Verdict, schedule};
use strata_writer::{Conductor, Failure};

/// At most so many servers in one pass, all asked for at once, so that they share commits.
const BATCH: usize = 512;
const POLL: Duration = Duration::from_secs(1);
/// After a pass in which nothing could be placed though it should: the log is away, or another replica was faster.
const PAUSE: Duration = Duration::from_millis(100);

/// Schedules until the future is dropped.
pub async fn run(conductor: Conductor) {
    let mut commits = conductor.watch();
    loop {
        commits.borrow_and_update();
        let cloud = conductor.latest();
        let verdicts = schedule(&cloud, now(), BATCH);
        let full = verdicts.len() == BATCH;
        let count = verdicts.len();
        let done = futures_util::stream::iter(verdicts)
            .map(|(id, verdict)| carry_out(&conductor, &cloud, id, verdict))
            .buffer_unordered(BATCH)
            .filter(|done| std::future::ready(*done))
            .count()
            .await;
        if done < count {
            tokio::time::sleep(PAUSE).await;
        } else if !full {
            // An error means that the conductor has ended; the poll then only slows the loop down until we are dropped.
            let woken = tokio::time::timeout(POLL, commits.changed()).await;
            if matches!(woken, Ok(Err(_))) {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// Whether it was taken.
async fn carry_out(conductor: &Conductor, cloud: &Cloud, id: InstanceId, verdict: Verdict) -> bool {
    let context = context(cloud, &id);
    let outcome = match verdict {
        Verdict::Wait => return true,
        Verdict::Place(host) => conductor.run(context, PlaceInstance { id, host }).await,
        Verdict::Nowhere(hosts) => conductor.run(context, MarkUnplaceable { id, hosts }).await,
    };
    match outcome {
        Ok(_) => true,
        Err(Failure::Refused(refusal)) => {
            tracing::debug!(%id, "not placed: {refusal}");
            false
        }
        Err(failure) => {
            tracing::warn!(%id, "not placed: {failure}");
            false
        }
    }
}

/// The placement belongs to the request that made the server, and follows from its first event.
fn context(cloud: &Cloud, id: &InstanceId) -> Context {
    let instance = cloud.instances.get(id);
    Context {
        now: now(),
        actor: Actor::service("scheduler"),
        request_id: instance.and_then(|i| i.actions.first()).map(|a| a.request_id.clone()).unwrap_or_default(),
        caused_by: instance.map(|i| i.requested),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
