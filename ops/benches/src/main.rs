//! `ops/bench`: measures each promise of the README, as ratios against a baseline in the same run where there is one, and
//! prints a table and JSON. Medians of at least five rounds; the spread is the lowest and the highest round.

mod cloud;
mod http;
mod report;
mod rows;
mod world;

use clap::Parser;
use report::Report;
use std::path::PathBuf;

/// Measure the promises.
#[derive(Parser)]
struct Args {
    /// Only the rows whose name holds this text.
    #[arg(long)]
    only: Option<String>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The strata binary to measure.
    #[arg(long, default_value = "target/release/strata")]
    strata: PathBuf,
    /// Where to write the same as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// The guest's disk (ops/guest-image); without it nothing with real guests is measured.
    #[arg(long)]
    guest: Option<PathBuf>,
    /// Leave out what starts a whole cloud.
    #[arg(long)]
    no_cloud: bool,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let mut report = Report::new(args.only.clone(), args.rounds.max(5));
    rows::pure::measure(&mut report);
    if let Err(e) = rows::writer::measure(&mut report).await {
        report.fail("writer", &e);
    }
    if !args.no_cloud
        && let Err(e) = rows::whole::measure(&mut report, &args.strata).await
    {
        report.fail("cloud", &e);
    }
    match &args.guest {
        Some(image) if !args.no_cloud => {
            if let Err(e) = rows::guests::measure(&mut report, &args.strata, image).await {
                report.fail("guests", &e);
            }
        }
        _ => eprintln!("  real guests: not measured (only root can run them)"),
    }
    print!("{}", report.table());
    if let Err(e) = std::fs::write(&args.json, report.json()) {
        eprintln!("{}: {e}", args.json.display());
    }
    if !report.complete() {
        std::process::exit(1);
    }
}
