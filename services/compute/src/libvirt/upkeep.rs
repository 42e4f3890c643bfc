//! What has to be looked after while guests run: logs that grow, images that nobody uses any more, guests that stand still for
//! want of room. Sizes and dates of files only: it costs nothing on an idle host.

use super::console;
use super::held::Held;
use super::home::{self, Home};
use super::images::Images;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LOGS: Duration = Duration::from_secs(3);
/// How many looks at the logs go by between two looks at the images: an hour.
const IMAGES: u32 = 1200;
/// Nova's remove_unused_original_minimum_age_seconds.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Runs for ever. `messages` is where libvirt keeps what QEMU says, where that is ours.
pub async fn run(instances: PathBuf, messages: PathBuf, images: Arc<Images>, held: Arc<Held>) {
    let mut turn = 0u32;
    let mut tick = tokio::time::interval(LOGS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        held.release().await;
        let (instances, messages, images) = (instances.clone(), messages.clone(), images.clone());
        turn = turn.wrapping_add(1);
        let done = tokio::task::spawn_blocking(move || {
            logs(&instances, &messages);
            if turn.is_multiple_of(IMAGES) {
                let known = home::all(&instances).unwrap_or_default();
                let used: HashSet<String> = known.iter().filter_map(|id| Home::of(&instances, id).base()).map(|i| i.sha512).collect();
                let removed = images.prune(&used, IDLE);
                if removed > 0 {
                    tracing::info!(removed, "images that no server uses left the cache");
                }
            }
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "the upkeep broke off");
        }
    }
}

fn logs(instances: &Path, messages: &Path) {
    for id in home::all(instances).unwrap_or_default() {
        for log in [Home::of(instances, &id).console_log(), messages.join(format!("instance-{id}.log"))] {
            if let Err(e) = console::shorten(&log) {
                tracing::warn!(file = %log.display(), error = %e, "can't shorten a log");
            }
        }
    }
}
