//! `strata keys rotate`: the staged key becomes the one that seals new tokens; older tokens stay valid until they expire.

use super::Tool;
use crate::layout::Layout;
use anyhow::{Result, anyhow, bail};

#[derive(Debug, clap::Subcommand)]
pub enum Options {
    /// Make the staged token key the primary, and stage a new one
    Rotate {
        /// How many keys besides the staged one stay, the primary included. A token whose key is gone is void
        #[arg(long, value_name = "N", default_value_t = 3)]
        keep: u32,
    },
}

/// The repository of the keys that seal tokens.
const TOKENS: &str = "fernet";

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let Options::Rotate { keep } = options;
    let tool = Tool::open(layout).await?;
    if tool.log.keys(TOKENS).all().await?.is_empty() {
        bail!("there are no token keys yet: the API makes them when it first starts");
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| anyhow!("the kernel gives no random bytes: {e}"))?;
    let keys = tool.log.keys(TOKENS).rotate(&key, keep.saturating_add(1)).await?;
    let primary = keys.first().map_or(0, |k| k.number);
    println!("key {primary} seals tokens now; {} older keys still open theirs, and the next is staged.", keys.len().saturating_sub(2));
    Ok(())
}
