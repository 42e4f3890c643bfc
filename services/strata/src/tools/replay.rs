//! `strata replay --verify`: folds the log from its beginning and compares the result with what every replica holds and with
//! every plan in NATS (invariant 2).

use super::{Tool, line};
use crate::layout::Layout;
use crate::live::{self, StateOf};
use crate::supervise::nats;
use anyhow::{Context, Result, bail};
use async_nats::jetstream;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use strata_log::Head;
use strata_projections::Cloud;
use strata_projections::plan::{self, Item, Key, Plan};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Compare with the live state of every replica and with every plan
    #[arg(long)]
    verify: bool,
}

/// How long the plans may take to follow the log. What changes in the meantime is followed too.
const PATIENCE: Duration = Duration::from_secs(15);

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let tool = Tool::open(layout).await?;
    let begun = Instant::now();
    let client = if options.verify { Some(nats::connect(&tool.layout, &tool.settings).await.context("can't reach NATS")?) } else { None };
    let live = match &client {
        Some(client) => live::states(client).await?,
        None => vec![],
    };
    let end = tool.log.head().await?;
    let to = live.iter().map(|s| s.position).max().unwrap_or(0).max(end.position);
    let (mut head, mut cloud) = (Head::default(), Cloud::default());
    let mut at: BTreeMap<u64, String> = live.iter().map(|s| (s.position, String::new())).collect();
    tool.fold(&mut head, to, &mut cloud, |cloud, recorded| {
        if let Some(digest) = at.get_mut(&recorded.position) {
            *digest = cloud.digest().to_string();
        }
    })
    .await?;
    let took = begun.elapsed().as_secs_f64();
    line(format_args!("folded {} events in {took:.1} s; state {}", head.position, cloud.digest()))?;
    let Some(client) = client else { return Ok(()) };
    compare_states(&live, &at)?;
    compare_plans(&tool, &client, head, cloud).await
}

fn compare_states(live: &[StateOf], folded: &BTreeMap<u64, String>) -> Result<()> {
    if live.is_empty() {
        bail!("no replica answers on NATS, so there is no live state to compare with");
    }
    for state in live {
        let expected = folded.get(&state.position).map(String::as_str).unwrap_or_default();
        // Position 0 is before the first event: nothing to compare.
        if state.position > 0 && expected != state.digest {
            bail!("{} holds another state at position {}: {} instead of {expected}", state.replica, state.position, state.digest);
        }
        line(format_args!("{}: the same state at position {}", state.replica, state.position))?;
    }
    Ok(())
}

async fn compare_plans(tool: &Tool, client: &async_nats::Client, mut head: Head, mut cloud: Cloud) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored = stored(client).await?;
        let end = tool.log.head().await?.position;
        tool.fold(&mut head, end, &mut cloud, |_, _| ()).await?;
        let expected = plan::all(&cloud);
        let differences = differences(&expected, &stored);
        if differences.is_empty() {
            line(format_args!("NATS: {} plans, each as the log has it at position {}", expected.len(), head.position))?;
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{} plans in NATS differ from the log's at position {}:\n  {}",
                differences.len(),
                head.position,
                differences[..differences.len().min(10)].join("\n  ")
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every plan in the bucket.
async fn stored(client: &async_nats::Client) -> Result<BTreeMap<Key, Item>> {
    let bucket = jetstream::new(client.clone()).get_key_value("PLANS").await.context("there is no bucket PLANS in NATS")?;
    let keys: Vec<String> = bucket.keys().await?.try_collect().await?;
    let mut plans = BTreeMap::new();
    for key in keys {
        // Removed meanwhile: then it is not there.
        if let Some(value) = bucket.get(key.as_str()).await? {
            let plan: Plan = serde_json::from_slice(&value).with_context(|| format!("the plan {key} can't be read"))?;
            plans.insert(Key(key), plan.item);
        }
    }
    Ok(plans)
}

fn differences(expected: &BTreeMap<Key, Item>, stored: &BTreeMap<Key, Item>) -> Vec<String> {
    let missing = expected.keys().filter(|k| !stored.contains_key(*k)).map(|k| format!("{} is missing", k.0));
    let extra = stored.keys().filter(|k| !expected.contains_key(*k)).map(|k| format!("{} should not be there", k.0));
    let other = expected.iter().filter(|(k, item)| stored.get(*k).is_some_and(|s| s != *item)).map(|(k, _)| format!("{} differs", k.0));
    missing.chain(extra).chain(other).collect()
}
