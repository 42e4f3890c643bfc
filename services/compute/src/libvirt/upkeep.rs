//! What has to be looked after while guests run: console logs that grow, images that nobody uses any more. Files only, and
//! only their sizes and dates: it costs nothing on an idle host.

use super::console;
use super::home::{self, Home};
use super::images::Images;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const LOGS: Duration = Duration::from_secs(3);
/// How many looks at the logs go by between two looks at the images: an hour.
const IMAGES: u32 = 1200;
/// Nova's remove_unused_original_minimum_age_seconds.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Runs for ever.
pub async fn run(instances: PathBuf, images: Arc<Images>) {
    let mut turn = 0u32;
    let mut tick = tokio::time::interval(LOGS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (instances, images) = (instances.clone(), images.clone());
        turn = turn.wrapping_add(1);
        let done = tokio::task::spawn_blocking(move || {
            logs(&instances);
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

fn logs(instances: &std::path::Path) {
    for id in home::all(instances).unwrap_or_default() {
        if let Err(e) = console::shorten(&Home::of(instances, &id).console_log()) {
            tracing::warn!(instance = %id, error = %e, "can't shorten a console log");
        }
    }
}
