//! What an operator asks a cloud. The tools read the log itself, with the services' rights (which can't change it), so they
//! work when no API answers.

pub mod audit;
pub mod events;
pub mod hosts;
pub mod keys;
pub mod replay;
pub mod status;
pub mod timeline;

use crate::layout::{Layout, Settings};
use crate::supervise::postgres::{self, Role};
use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};
use strata_events::{Actor, Recorded};
use strata_log::{Head, Log, LogConfig};
use strata_projections::Cloud;

/// A cloud as the tools see it.
pub struct Tool {
    pub layout: Layout,
    pub settings: Settings,
    pub log: Log,
}

impl Tool {
    pub async fn open(layout: Layout) -> Result<Self> {
        let settings = layout.settings()?;
        let url = postgres::url(&layout, &settings, Role::Service)?;
        let mut config = LogConfig::new(url);
        config.readers = 2;
        let log = Log::connect(&config)
            .await
            .with_context(|| format!("can't read the log: is the cloud running? (strata up --data {})", layout.data.display()))?;
        Ok(Self { layout, settings, log })
    }

    /// The state at the log's end, folded from its beginning.
    pub async fn cloud(&self) -> Result<Cloud> {
        let end = self.log.head().await?;
        let mut cloud = Cloud::default();
        self.fold(&mut Head::default(), end.position, &mut cloud, |_, _| ()).await?;
        Ok(cloud)
    }

    /// Folds what comes after `head` up to `to` into `cloud`; `seen` hears each event with the state after it.
    pub async fn fold(&self, head: &mut Head, to: u64, cloud: &mut Cloud, mut seen: impl FnMut(&Cloud, &Recorded)) -> Result<()> {
        let apply = |recorded: Recorded| -> Result<()> {
            cloud.apply(&recorded)?;
            seen(cloud, &recorded);
            Ok(())
        };
        self.log.fold(head, to, apply).await
    }
}

/// Runs a tool to its end.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints a line. False: whoever read it has gone (`| head`), so there is no use in going on.
pub fn line(text: std::fmt::Arguments<'_>) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Who caused something, in a word; users by name while they exist.
pub fn who(actor: &Actor, cloud: Option<&Cloud>) -> String {
    match actor {
        Actor::User { user, .. } => match cloud.and_then(|c| c.users.get(user)) {
            Some(known) => known.name.clone(),
            None => format!("user {user}"),
        },
        Actor::Host { host } => format!("host {host}"),
        Actor::Service { name } => name.clone(),
    }
}
