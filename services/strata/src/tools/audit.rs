//! `strata audit`: who did what, and the proof that nothing was changed since.

use super::{Tool, line, who};
use crate::layout::Layout;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;
use strata_events::{Actor, Recorded, Timestamp};

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// Walk the whole log and check positions, versions and the hash chain
    Verify,
    /// The last mutating calls, the refused ones and those that changed nothing included, oldest first
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let tool = Tool::open(layout).await?;
    match options {
        Options::Verify => verify(&tool).await,
        Options::List { limit } => list(&tool, limit).await,
    }
}

async fn verify(tool: &Tool) -> Result<()> {
    let begun = Instant::now();
    let verdict = tool.log.verify(|position| eprintln!("{position} events checked …")).await?;
    if let Some(flaw) = verdict.flaw {
        bail!("the log was changed after it was written: {flaw}");
    }
    line(format_args!(
        "{} events, each following from the one before it ({:.1} s). Head: {}",
        verdict.events,
        begun.elapsed().as_secs_f32(),
        verdict.head.hash
    ))?;
    Ok(())
}

/// One mutating call.
struct Call {
    at: Timestamp,
    who: String,
    from: String,
    what: String,
    outcome: String,
    request_id: String,
}

async fn list(tool: &Tool, limit: u32) -> Result<()> {
    let cloud = tool.cloud().await?;
    let mut calls = in_log(tool, limit).await?;
    let known: HashMap<String, usize> = calls.iter().enumerate().map(|(i, c)| (c.request_id.clone(), i)).collect();
    for beside in tool.log.calls(limit).await? {
        let outcome = format!("{} {}", beside.outcome, beside.reason);
        // It changed something, and was refused further on: one call.
        if let Some(i) = known.get(&beside.request_id) {
            calls[*i].outcome = outcome;
            continue;
        }
        let named = beside.user.as_ref().and_then(|id| id.parse().ok()).and_then(|id| cloud.users.get(&id)).map(|u| u.name.clone());
        calls.push(Call {
            at: beside.at,
            who: named.or(beside.user).unwrap_or_else(|| "nobody".into()),
            from: beside.from,
            what: beside.action,
            outcome,
            request_id: beside.request_id,
        });
    }
    calls.sort_by_key(|c| c.at);
    let skip = calls.len().saturating_sub(limit as usize);
    for call in &calls[skip..] {
        let name =
            call.who.strip_prefix("user ").and_then(|id| id.parse().ok()).and_then(|id| cloud.users.get(&id)).map(|u| u.name.clone());
        let who = name.as_ref().unwrap_or(&call.who);
        if !line(format_args!("{}  {}  {who} from {}  {}  {}", call.at.micros(), call.request_id, call.from, call.what, call.outcome))? {
            break;
        }
    }
    Ok(())
}

/// The last calls of which the log tells: their events, gathered by request. What followed from them is not the caller's doing.
async fn in_log(tool: &Tool, limit: u32) -> Result<Vec<Call>> {
    const PAGE: u64 = 2000;
    let mut before = tool.log.head().await?.position + 1;
    let mut calls: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    while before > 1 && calls.len() < limit as usize {
        let from = before.saturating_sub(PAGE).max(1);
        let page = tool.log.read_from(from, u32::try_from(before - from).unwrap_or(u32::MAX)).await?;
        for recorded in page.into_iter().filter(|r| matches!(r.actor, Actor::User { .. }) && r.caused_by.is_none()) {
            calls.entry(recorded.request_id.clone()).or_default().push(recorded);
        }
        before = from;
    }
    let call = |(request_id, events): (String, Vec<Recorded>)| {
        let first = events.iter().min_by_key(|r| r.position)?;
        let mut what: Vec<String> = events.iter().map(|r| format!("{} {}", r.event.type_name(), r.event.stream().id)).collect();
        if what.len() > 3 {
            let more = what.len() - 3;
            what.truncate(3);
            what.push(format!("and {more} more"));
        }
        let from = match &first.actor {
            Actor::User { from, .. } => from.clone(),
            _ => String::new(),
        };
        Some(Call { at: first.recorded_at, who: who(&first.actor, None), from, what: what.join(", "), outcome: "done".into(), request_id })
    };
    Ok(calls.into_iter().filter_map(call).collect())
}
