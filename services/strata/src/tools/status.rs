//! `strata status`: what runs, how far each part is behind the log, the hosts, and what is not converged and why.

use super::{Tool, line};
use crate::layout::Layout;
use crate::process;
use crate::supervise::nats;
use anyhow::Result;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strata_events::{HostName, Timestamp};
use strata_log::ReplicaSeen;
use strata_projections::Cloud;
use strata_projections::cloud::instance::{Instance, State, Task};
use strata_projections::cloud::port::Plug;
use strata_projections::report::{Condition, Role, ask};

/// A replica that has said nothing for so long is shown as silent.
const SILENT_MILLIS: i64 = 15_000;
/// How long a worker has to say how it is.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of the things that are not converged, so many are shown one by one.
const SHOWN: usize = 50;

pub async fn run(layout: Layout) -> Result<()> {
    let running = process::of_cloud(&layout);
    out!("cloud       {}   {}", layout.data.display(), layout.settings()?.endpoint());
    if running.is_empty() {
        out!("            not running: start it with `strata up --data {}`", layout.data.display());
        return Ok(());
    }
    out!("processes");
    let mut sum = 0;
    for record in &running {
        // The services are children of the supervisor, and counted for themselves.
        let kib = if record.name == "postgres" { process::memory_with_children(record.pid) } else { process::memory(record.pid) };
        sum += kib;
        out!("  {:<12} pid {:<8} {:>6.1} MiB", record.name, record.pid, kib as f64 / 1024.0);
    }
    out!("  {:<25} {:>6.1} MiB in all", "", sum as f64 / 1024.0);
    let tool = Tool::open(layout).await?;
    let head = tool.log.head().await?;
    let cloud = tool.cloud().await?;
    out!("log         {} events", head.position);
    out!("services");
    for seen in tool.log.replicas().await? {
        line(format_args!("  {}", service(&seen, head.position)))?;
    }
    projections(&tool, head.position).await?;
    hosts(&cloud);
    let conditions = conditions(&tool, &cloud).await;
    let now = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros().try_into()?);
    let mut open = conditions;
    open.extend(open_ends(&cloud, now));
    if open.is_empty() {
        out!("converged   everything is as it should be");
        return Ok(());
    }
    out!("not converged");
    for text in open.iter().take(SHOWN) {
        if !line(format_args!("  {text}"))? {
            return Ok(());
        }
    }
    if open.len() > SHOWN {
        out!("  and {} more", open.len() - SHOWN);
    }
    Ok(())
}

fn service(seen: &ReplicaSeen, head: u64) -> String {
    let replica = &seen.replica;
    let mut state = behind(replica.applied, head);
    if seen.millis_ago > SILENT_MILLIS {
        state = format!("silent for {} s", seen.millis_ago / 1000);
    }
    // What a conductor derives from the log, and how far it is with it.
    let details: Map<String, Value> = serde_json::from_str(&replica.details).unwrap_or_default();
    for (what, position) in details.iter().filter_map(|(what, position)| Some((what, position.as_u64()?))) {
        state += &format!("; {what}: {}", behind(position, head));
    }
    format!("{:<24} {:<40} {state}", replica.name, replica.services.join(", "))
}

fn behind(position: u64, head: u64) -> String {
    match head.saturating_sub(position) {
        0 => "up to date".into(),
        1 => "1 event behind".into(),
        n => format!("{n} events behind"),
    }
}

/// The projections in PostgreSQL, which the projector keeps. None while they are being made.
async fn projections(tool: &Tool, head: u64) -> Result<()> {
    let client = tool.log.client().await?;
    let rows = client.query("SELECT projection, position FROM read.checkpoint ORDER BY projection", &[]).await.unwrap_or_default();
    for row in rows {
        let (name, position): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        line(format_args!("  {name:<65} {}", behind(position.unsigned_abs(), head)))?;
    }
    Ok(())
}

fn hosts(cloud: &Cloud) {
    out!("hosts       {}", cloud.hosts.len());
    for host in cloud.hosts.values().take(SHOWN) {
        let state = match (host.up, host.forced_down, host.enabled) {
            (false, _, _) => "down",
            (_, true, _) => "forced down",
            (_, _, false) => "disabled",
            _ => "up",
        };
        out!(
            "  {:<20} {state:<12} {} servers, {} vCPUs of {}, {} of {} MiB, {} of {} GiB   zone {}",
            host.name.0,
            host.used.instances,
            host.used.vcpus,
            host.inventory.vcpus,
            host.used.memory,
            host.inventory.memory,
            host.used.disk,
            host.inventory.disk,
            host.zone
        );
    }
    if cloud.hosts.len() > SHOWN {
        out!("  and {} more", cloud.hosts.len() - SHOWN);
    }
}

/// What the workers of hosts that are up say keeps them from their work; those that say nothing, too.
async fn conditions(tool: &Tool, cloud: &Cloud) -> Vec<String> {
    let client = match nats::connect(&tool.layout, &tool.settings).await {
        Ok(client) => client,
        Err(e) => return vec![format!("NATS: {e:#}; hosts get no plans and can't report until it is back")],
    };
    let hosts: Vec<&HostName> = cloud.hosts.values().filter(|h| h.up).map(|h| &h.name).take(SHOWN).collect();
    let asked = hosts.into_iter().map(async |host| {
        let [compute, network, all] = Role::ALL.map(|role| condition(&client, host, role));
        let (compute, network, all) = tokio::join!(compute, network, all);
        match (compute, network, all) {
            (None, None, Some(all)) => vec![(Role::All, all.trouble)],
            (compute, network, _) => [(Role::Compute, compute), (Role::Network, network)]
                .map(|(role, said)| (role, said.map_or_else(|| Some("does not answer".into()), |c| c.trouble)))
                .into(),
        }
        .into_iter()
        .filter_map(|(role, trouble)| Some(format!("host {host}: its {role} worker: {}", trouble?)))
        .collect::<Vec<_>>()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What one worker says; none: there is no such worker, or it does not answer.
async fn condition(client: &async_nats::Client, host: &HostName, role: Role) -> Option<Condition> {
    let asked = client.request(ask(host, &format!("condition.{role}")), "".into());
    let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// What is not as it should be, in words.
pub fn open_ends(cloud: &Cloud, now: Timestamp) -> Vec<String> {
    let mut open = vec![];
    for host in cloud.hosts.values().filter(|h| !h.up) {
        open.push(format!(
            "host {}: its lease ran out; {} servers are on it. Is its worker running, and does it reach NATS?",
            host.name, host.used.instances
        ));
    }
    for instance in cloud.instances.values() {
        open.extend(of_instance(instance, now));
    }
    for port in cloud.ports.values() {
        if let Some(binding) = &port.binding {
            match &binding.plug {
                Plug::Plugged => {}
                Plug::Wanted => open.push(format!("port {}: waits until host {} has plugged it", port.id, binding.host)),
                Plug::Failed(why) => open.push(format!("port {}: host {} can't plug it: {why}", port.id, binding.host)),
            }
        }
    }
    open
}

fn of_instance(instance: &Instance, now: Timestamp) -> Option<String> {
    let name = format!("server {} ({})", instance.spec.name, instance.id);
    let waiting = match (&instance.task, &instance.host) {
        (Some(Task::Schedule), _) => "waits for a host".to_string(),
        (Some(Task::Spawn), Some(host)) => format!("is being built by host {host}"),
        (Some(Task::Operation(operation)), Some(host)) => format!("waits until host {host} has done {operation:?}"),
        (Some(task), None) => format!("{task:?}, but it has no host"),
        (None, _) if instance.state == State::Error => {
            let why = instance.fault.as_ref().map_or("no reason is known", |f| f.message.as_str());
            return Some(format!("{name}: ERROR: {why}"));
        }
        (None, _) => return None,
    };
    let deadline = match instance.deadline {
        Some(d) if d > now => format!("; fails in {} s if it doesn't", (d.0 - now.0) / 1_000_000),
        Some(d) => format!("; overdue for {} s", (now.0 - d.0) / 1_000_000),
        None => String::new(),
    };
    Some(format!("{name}: {waiting}{deadline}"))
}
