//! `strata events`: the log as people read it, or as tools do.

use super::{Tool, line, who};
use crate::layout::Layout;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::time::Duration;
use strata_events::{Actor, Event, Stream};
use strata_log::Raw;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Go on as events are appended
    #[arg(long, short)]
    follow: bool,
    /// Only this stream: kind/ID, or a kind alone
    #[arg(long, value_name = "KIND/ID")]
    stream: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Begin at this position
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
}

/// How many rows are fetched at once.
const PAGE: u32 = 1000;
/// How long `--follow` waits before it looks again.
const PAUSE: Duration = Duration::from_millis(200);

/// Which events are wanted.
struct Filter {
    kind: Option<String>,
    id: Option<String>,
}

impl Filter {
    fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self { kind: None, id: None }) };
        let (kind, id) = text.split_once('/').map_or((text, None), |(kind, id)| (kind, Some(id.to_string())));
        let kinds: Vec<&str> = Event::CATALOG.iter().map(|(kind, _)| *kind).collect();
        anyhow::ensure!(kinds.contains(&kind), "there are no streams of kind {kind:?}; the kinds are {}", kinds.join(", "));
        Ok(Self { kind: Some(kind.into()), id })
    }
    fn wants(&self, row: &Raw) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == row.kind) && self.id.as_ref().is_none_or(|id| *id == row.id)
    }
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let filter = Filter::parse(options.stream.as_deref())?;
    let tool = Tool::open(layout).await?;
    if let (Some(kind), Some(id), false) = (&filter.kind, &filter.id, options.follow) {
        // One stream alone has its own index.
        let stream = Stream { kind: kind.clone(), id: id.clone() };
        return one_stream(&tool, &stream, &options).await;
    }
    let mut next = options.from.max(1);
    loop {
        let rows = tool.log.rows_from(next, PAGE).await?;
        for row in rows.iter().filter(|row| filter.wants(row)) {
            if !show(row, options.json)? {
                return Ok(());
            }
        }
        match rows.last() {
            Some(last) => next = last.position + 1,
            None if options.follow => tokio::time::sleep(PAUSE).await,
            None => return Ok(()),
        }
    }
}

async fn one_stream(tool: &Tool, stream: &Stream, options: &Options) -> Result<()> {
    let mut after = 0;
    loop {
        let events = tool.log.read_stream(stream, after, PAGE).await?;
        for recorded in events.iter().filter(|r| r.position >= options.from) {
            // The stream's index gives decoded events; the row has the hash as well.
            let row = tool.log.rows_from(recorded.position, 1).await?;
            for row in &row {
                if !show(row, options.json)? {
                    return Ok(());
                }
            }
        }
        match events.last() {
            Some(last) => after = last.version,
            None => return Ok(()),
        }
    }
}

fn show(row: &Raw, as_json: bool) -> Result<bool> {
    if as_json {
        return line(format_args!("{}", strata_writer::nats::published(row)));
    }
    let broken = || format!("event {} holds no JSON", row.position);
    let body: Value = serde_json::from_str(&row.body).with_context(broken)?;
    let actor: Actor = serde_json::from_str(&row.actor).with_context(broken)?;
    let cause = row.caused_by.map(|p| format!(", after {p}")).unwrap_or_default();
    let details = body.as_object().map(summary).unwrap_or_default();
    line(format_args!(
        "{:>7}  {}  {}/{}  {}  by {}{cause}{details}",
        row.position,
        row.recorded_at.micros(),
        row.kind,
        row.id,
        row.type_name,
        who(&actor, None)
    ))
}

/// A body in a line of limited length, without the id, which the stream tells.
pub fn summary(body: &Map<String, Value>) -> String {
    const LONGEST: usize = 160;
    let mut text = String::new();
    for (name, value) in body.iter().filter(|(name, value)| *name != "id" && !value.is_null()) {
        match value {
            Value::String(s) => text += &format!("  {name}={s}"),
            other => text += &format!("  {name}={other}"),
        }
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_filter_names_a_kind_that_exists() {
        assert!(Filter::parse(Some("instance/5f")).is_ok());
        let error = Filter::parse(Some("server/5f")).err().expect("servers are instances here").to_string();
        assert!(error.contains("instance"), "{error}");
    }

    #[test]
    fn a_summary_is_one_short_line_without_the_id() {
        let body = json!({"id": "x", "host": "h1", "generation": 2, "none": null, "long": "y".repeat(500)});
        let text = summary(body.as_object().expect("an object"));
        assert!(text.contains("host=h1") && text.contains("generation=2") && !text.contains("id=x") && !text.contains("none"), "{text}");
        assert!(text.chars().count() <= 161);
    }
}
