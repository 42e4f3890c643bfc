//! `strata host`: letting machines join.

use crate::layout::Layout;
use anyhow::Result;

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// Make a token with which one machine may join as this host, within an hour
    Invite {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let _ = (layout, options);
    anyhow::bail!("not yet")
}
