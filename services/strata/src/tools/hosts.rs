//! `strata host`: letting machines join.

use super::Tool;
use crate::layout::Layout;
use crate::{host, simulate};
use anyhow::{Result, anyhow};
use strata_events::HostName;
use strata_writer::{Conductor, Options as WriterOptions};

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// Make a token with which one machine may join as this host, within an hour
    Invite {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let this many simulated hosts join (what `up --simulated` does for you)
    #[command(hide = true)]
    Simulated {
        #[arg(value_name = "N")]
        count: u32,
    },
    /// Make the cloud's own machine a host of it (what `up` does for you)
    #[command(hide = true)]
    Local,
}

const HOUR: i64 = 3600;

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let name = match options {
        Options::Simulated { count } => return simulate::enrol(layout, count).await,
        Options::Local => return host::enrol(&layout).await,
        Options::Invite { name } => name,
    };
    let tool = Tool::open(layout).await?;
    let conductor = Conductor::start(tool.log.clone(), WriterOptions { react: false, ..WriterOptions::default() }).await?;
    let invited = HostName(name.clone());
    let token = strata_writer::nats::invite(&conductor, host::context()?, &invited, HOUR).await.map_err(|e| anyhow!("{e}"))?;
    out!("{token}");
    eprintln!("One machine may join as {name} with this token within an hour, at {}/strata", tool.settings.endpoint());
    Ok(())
}
