//! `strata`: every service and every tool of a Strata cloud in one program.

/// Prints a line. A reader that went away (`| head`) is no reason to panic.
macro_rules! out {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod credentials;
mod demo;
mod guests;
mod host;
mod layout;
mod leftovers;
mod live;
mod process;
mod serve;
mod simulate;
mod supervise;
mod tools;
mod up;
mod worker;

use anyhow::Result;
use clap::{Parser, Subcommand};
use layout::Layout;
use std::path::PathBuf;
use std::process::ExitCode;

/// An infrastructure cloud that speaks OpenStack's APIs and whose truth is an ordered log of events.
#[derive(Debug, Parser)]
#[command(name = "strata", version, max_term_width = 120)]
struct Arguments {
    /// The cloud's data directory
    #[arg(long, global = true, value_name = "DIR", env = "STRATA_DATA", default_value = "/var/lib/strata")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cloud, or say that it runs already
    Up(up::Options),
    /// Stop a cloud
    Down(up::DownOptions),
    /// Run services of a cloud that was started before (what `up` does for you)
    Serve(serve::Options),
    /// Join a cloud as a host, and be one
    Worker(worker::Options),
    /// Run simulated hosts that have joined
    Simulate(simulate::Options),
    /// Show what runs, how far each service is behind the log, the hosts, and what is not converged and why
    Status,
    /// Print the log of events
    Events(tools::events::Options),
    /// Show every step of one server with its cause and duration
    #[command(subcommand)]
    Timeline(tools::timeline::Options),
    /// Who did what, and the proof that it was not changed since
    #[command(subcommand)]
    Audit(tools::audit::Options),
    /// Fold the log from its beginning
    Replay(tools::replay::Options),
    /// The keys that seal tokens
    #[command(subcommand)]
    Keys(tools::keys::Options),
    /// The machines that run servers
    #[command(subcommand)]
    Host(tools::hosts::Options),
    /// Boot a first server, and wait until its guest says that it is ready (what `ops/up` does for you)
    Demo(demo::Options),
    /// Keep a cloud running: what `up` leaves behind
    #[command(hide = true)]
    Supervise,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("strata: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let log = tracing_subscriber::EnvFilter::try_from_env("STRATA_LOG").unwrap_or_else(|_| "info,async_nats=warn".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).with_target(false).init();
    let data = arguments.data.as_path();
    match arguments.command {
        Command::Up(options) => up::run(Layout::new(data)?, options),
        Command::Down(options) => up::down(Layout::new(data)?, &options),
        Command::Serve(options) => serve::run(Layout::existing(data)?, options),
        Command::Worker(options) => worker::run(Layout::new(data)?, options),
        Command::Simulate(options) => simulate::run(Layout::existing(data)?, options),
        Command::Status => tools::block_on(tools::status::run(Layout::existing(data)?)),
        Command::Events(options) => tools::block_on(tools::events::run(Layout::existing(data)?, options)),
        Command::Timeline(options) => tools::block_on(tools::timeline::run(Layout::existing(data)?, options)),
        Command::Audit(options) => tools::block_on(tools::audit::run(Layout::existing(data)?, options)),
        Command::Replay(options) => tools::block_on(tools::replay::run(Layout::existing(data)?, options)),
        Command::Keys(options) => tools::block_on(tools::keys::run(Layout::existing(data)?, options)),
        Command::Host(options) => tools::block_on(tools::hosts::run(Layout::existing(data)?, options)),
        Command::Demo(options) => tools::block_on(demo::run(Layout::existing(data)?, options)),
        Command::Supervise => {
            let layout = Layout::existing(data)?;
            let settings = layout.settings()?;
            up::supervise_here(layout, settings)
        }
    }
}
