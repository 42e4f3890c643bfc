//! `strata timeline server NAME`: every step of one server, what caused it and how long it took.

use super::{Tool, line, who};
use crate::layout::Layout;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use strata_events::instance::InstanceEvent;
use strata_events::port::PortEvent;
use strata_events::{Event, InstanceId, PortId, Recorded, Stream};
use strata_log::Head;
use strata_projections::Cloud;

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// A server, by name or id; those deleted are found too
    Server {
        #[arg(value_name = "NAME|ID")]
        server: String,
    },
}

/// What the log tells of the servers that a name may mean.
#[derive(Default)]
struct Found {
    /// With their name, in the order of their creation.
    servers: Vec<(InstanceId, String)>,
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let Options::Server { server } = options;
    let tool = Tool::open(layout).await?;
    let end = tool.log.head().await?;
    let (mut cloud, mut found) = (Cloud::default(), Found::default());
    tool.fold(&mut Head::default(), end.position, &mut cloud, |_, recorded| found.look(recorded, &server)).await?;
    let Some((id, name)) = found.servers.last() else {
        bail!("no server called {server:?}, now or in the past; `openstack server list --all-projects` shows those that exist")
    };
    if found.servers.len() > 1 {
        let others: Vec<String> = found.servers.iter().rev().skip(1).map(|(id, _)| id.to_string()).collect();
        line(format_args!("(the newest of {}; others: {})", found.servers.len(), others.join(", ")))?;
    }
    line(format_args!("server {name} ({id})"))?;
    let steps = steps(&tool, *id).await?;
    show(&steps, &cloud)
}

impl Found {
    fn look(&mut self, recorded: &Recorded, wanted: &str) {
        match &recorded.event {
            Event::Instance(InstanceEvent::InstanceRequested { id, spec, .. }) if spec.name == wanted || id.to_string() == wanted => {
                self.servers.push((*id, spec.name.clone()));
            }
            _ => {}
        }
    }
}

/// What happened to the instance and to its ports while they were its own, by position.
async fn steps(tool: &Tool, id: InstanceId) -> Result<Vec<Recorded>> {
    let mut all = stream(tool, InstanceEvent::KIND, &id).await?;
    let mut ports: BTreeSet<PortId> = BTreeSet::new();
    for recorded in &all {
        if let Event::Instance(InstanceEvent::InstanceRequested { spec, .. }) = &recorded.event {
            ports.extend(&spec.ports);
        }
        if let Event::Instance(InstanceEvent::InstancePortsChanged { ports: now, .. }) = &recorded.event {
            ports.extend(now);
        }
    }
    let first = all.first().map_or(0, |r| r.position);
    let first_request = all.first().map(|r| r.request_id.clone());
    for port in ports {
        let of_port = stream(tool, PortEvent::KIND, &port).await?;
        all.extend(of_port.into_iter().filter(|r| r.position > first || Some(&r.request_id) == first_request.as_ref()));
    }
    all.sort_by_key(|r| r.position);
    Ok(all)
}

async fn stream(tool: &Tool, kind: &str, id: &impl std::fmt::Display) -> Result<Vec<Recorded>> {
    let stream = Stream { kind: kind.into(), id: id.to_string() };
    let mut all: Vec<Recorded> = vec![];
    loop {
        let page = tool.log.read_stream(&stream, all.last().map_or(0, |r| r.version), 1000).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn show(steps: &[Recorded], cloud: &Cloud) -> Result<()> {
    let Some(first) = steps.first() else { return Ok(()) };
    let mut previous = first.recorded_at;
    line(format_args!("{:>8}  {:<23}  {:>9}  {:>9}  step", "position", "at", "took", "total"))?;
    for step in steps {
        let took = span(step.recorded_at.0 - previous.0);
        let total = span(step.recorded_at.0 - first.recorded_at.0);
        previous = step.recorded_at;
        let cause = match step.caused_by {
            Some(position) => format!("after {position}, by {}", who(&step.actor, Some(cloud))),
            None => format!("by {} ({})", who(&step.actor, Some(cloud)), step.request_id),
        };
        let at = step.recorded_at.micros();
        let shown = line(format_args!(
            "{:>8}  {:<23}  {took:>9}  {total:>9}  {:<28} {cause}{}",
            step.position,
            &at[..23.min(at.len())],
            step.event.type_name(),
            detail(step)
        ))?;
        if !shown {
            break;
        }
    }
    Ok(())
}

/// What a reader wants to know of a step besides its name.
fn detail(step: &Recorded) -> String {
    match &step.event {
        Event::Instance(InstanceEvent::InstancePlaced { host, generation, .. }) => format!(": on {host}, generation {generation}"),
        Event::Instance(InstanceEvent::InstanceUnplaceable { reason, hosts, .. }) => {
            let each: Vec<String> = hosts.iter().map(|(host, why)| format!("host {host} {why}")).collect();
            format!(": {reason} {}", each.join("; "))
        }
        Event::Instance(InstanceEvent::InstanceBuildFailed { reason, .. }) => {
            format!(": {reason}")
        }
        Event::Instance(
            InstanceEvent::InstanceOperationRequested { operation, .. } | InstanceEvent::InstanceOperationDone { operation, .. },
        ) => {
            format!(": {operation:?}")
        }
        Event::Instance(InstanceEvent::InstancePowerObserved { power, .. }) => format!(": {power:?}, by itself"),
        Event::Instance(InstanceEvent::InstanceOperationFailed { operation, reason, .. }) => format!(": {operation:?}: {reason}"),
        Event::Port(_) => format!(": port {}", step.event.stream().id),
        _ => String::new(),
    }
}

fn span(micros: i64) -> String {
    match micros {
        0 => String::new(),
        1..=9_999 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..=999_999 => format!("{} ms", micros / 1000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}
