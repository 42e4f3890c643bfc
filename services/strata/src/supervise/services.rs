//! The service processes: which there are, how they are started, and when they answer.

use super::postgres::{self, Role};
use crate::layout::{Layout, Settings};
use crate::process;
use crate::serve::Service;
use anyhow::{Context, Result, bail};
use std::time::Duration;
use strata_worker::Role as WorkerRole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The services of one process.
pub struct Set(Vec<Service>);

impl Set {
    pub fn name(&self) -> String {
        match self.0[..] {
            [one] => one.to_string(),
            _ => "serve".into(),
        }
    }
}

/// All in one process, or each in its own.
pub fn sets(settings: &Settings) -> Vec<Set> {
    if settings.separate { Service::ALL.iter().map(|s| Set(vec![*s])).collect() } else { vec![Set(Service::ALL.to_vec())] }
}

pub fn command(layout: &Layout, _settings: &Settings, set: &Set) -> Result<std::process::Command> {
    let mut command = own(layout, &set.name())?;
    let names: Vec<String> = set.0.iter().map(Service::to_string).collect();
    command.arg("serve").arg("--data").arg(&layout.data).arg("--services").arg(names.join(","));
    Ok(command)
}

pub fn simulate(layout: &Layout, settings: &Settings) -> Result<std::process::Command> {
    let mut command = own(layout, "simulate")?;
    command.arg("simulate").arg("--data").arg(&layout.data).arg("--hosts").arg(settings.simulated.to_string());
    Ok(command)
}

/// A process of this program.
fn own(layout: &Layout, name: &str) -> Result<std::process::Command> {
    let mut command = process::command(layout, &program()?, name, libc::SIGTERM)?;
    // What a password check needs for a moment goes back to the system right after it, instead of staying with each thread.
    command.env("MALLOC_ARENA_MAX", "2").env("MALLOC_MMAP_THRESHOLD_", "1048576").env("MALLOC_TRIM_THRESHOLD_", "4194304");
    Ok(command)
}

/// This program. When its file was replaced while it ran, the new one.
pub fn program() -> Result<std::path::PathBuf> {
    let path = std::env::current_exe().context("can't find this program's own file")?;
    match path.to_str().and_then(|p| p.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(replaced.into()),
        None => Ok(path),
    }
}

/// Brings the schema up to this program's version.
pub async fn migrate(layout: &Layout, settings: &Settings) -> Result<()> {
    let owner = postgres::url(layout, settings, Role::Owner)?;
    let applied = strata_log::migrate(&owner).await.context("can't bring the database's schema up to date")?;
    if !applied.is_empty() {
        tracing::info!("migrated the database: {}", applied.join(", "));
    }
    Ok(())
}

/// Waits until the API answers at its root.
pub async fn ready(layout: &Layout, settings: &Settings) -> Result<()> {
    let target = if settings.listen.is_unspecified() { "127.0.0.1".parse()? } else { settings.listen };
    for _ in 0..1200 {
        if answers(target, settings).await.unwrap_or(false) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the API does not answer on {} (its log: {})", settings.endpoint(), layout.log_file("serve").display())
}

async fn answers(target: std::net::IpAddr, settings: &Settings) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((target, settings.port)).await?;
    if settings.tls_cert.is_some() {
        return Ok(true); // it listens only once it can answer
    }
    stream.write_all(b"GET /v3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    // Whatever it answers, as long as it does.
    Ok(head.starts_with(b"HTTP/1.1 ") && head[9] != b'5')
}

/// A worker process of this machine.
pub fn worker(layout: &Layout, role: WorkerRole) -> Result<std::process::Command> {
    let mut command = own(layout, role.as_str())?;
    command.arg("worker").arg(role.as_str()).arg("--data").arg(&layout.data);
    Ok(command)
}

/// Lets the simulated hosts join that have not yet.
pub async fn enrol(layout: &Layout, settings: &Settings) -> Result<()> {
    join(layout, "simulate", &["host", "simulated", &settings.simulated.to_string()]).await
}

/// Lets this machine join, if it has not yet.
pub async fn enrol_this(layout: &Layout) -> Result<()> {
    join(layout, "compute", &["host", "local"]).await
}

async fn join(layout: &Layout, log: &str, arguments: &[&str]) -> Result<()> {
    let mut command = own(layout, log)?;
    command.args(arguments).arg("--data").arg(&layout.data);
    let status = tokio::process::Command::from(command).status().await?;
    if !status.success() {
        bail!("can't join (the log: {})", layout.log_file(log).display());
    }
    Ok(())
}
