//! `strata keys rotate`: the staged key becomes the one that seals new tokens; older tokens stay valid until they expire.

use super::Tool;
use crate::layout::Layout;
use anyhow::Result;
use strata_api::identity::token::keys::rotate;

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// Make the staged token key the primary, and stage a new one
    Rotate,
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let Options::Rotate = options;
    let tool = Tool::open(layout).await?;
    let keys = rotate(&tool.log).await?;
    out!("a new key seals tokens; {} older ones still open theirs, and the next is staged.", keys.saturating_sub(2));
    Ok(())
}
