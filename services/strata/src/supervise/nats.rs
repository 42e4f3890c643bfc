//! A private nats-server with JetStream on a loopback port, which admits only what this cloud's authority signed. It holds
//! nothing that the log doesn't: its store may be lost at any time.

use crate::layout::{Layout, Settings};
use crate::process::{self, Record};
use anyhow::{Context, Result, anyhow, bail};
use std::path::PathBuf;
use std::time::Duration;
use strata_writer::Conductor;
use strata_writer::nats::Link;

/// Where the keys, the server's configuration and the control plane's credentials are.
pub fn paths(layout: &Layout, settings: &Settings) -> Result<strata_credentials::Paths> {
    let paths = strata_credentials::write(&layout.secrets().join("nats"), settings.nats_port, &layout.nats().join("jetstream"))?;
    Ok(paths)
}

pub fn command(layout: &Layout, settings: &Settings) -> Result<std::process::Command> {
    crate::layout::dir(&layout.nats(), 0o700)?;
    let program = program().context("nats-server is not installed: apt-get install nats-server, or name one with --nats-url")?;
    let mut command = process::command(layout, &program, "nats", libc::SIGTERM)?;
    command.arg("-c").arg(paths(layout, settings)?.config).current_dir("/").env("GOMEMLIMIT", "64MiB");
    Ok(command)
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it among the administrator's programs, which are in not everyone's path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join("nats-server"))
        .find(|p| p.exists())
}

pub fn url(settings: &Settings) -> String {
    settings.nats_url.clone().unwrap_or_else(|| format!("nats://127.0.0.1:{}", settings.nats_port))
}

/// How often the configuration is compared when no host comes or goes: another process may have written an older one.
const LOOK: Duration = Duration::from_secs(30);

/// Keeps out, for ever, whoever has the key of a host that is none any more: run by the conductor service.
pub async fn keep_out(layout: &Layout, settings: &Settings, conductor: &Conductor) -> Result<()> {
    let mut positions = conductor.watch();
    // What an earlier run wrote is known to a server that was started since; what it missed is found by the comparison.
    let mut known = None;
    loop {
        positions.borrow_and_update();
        let cloud = conductor.latest();
        if known.as_ref() != Some(cloud.hosts.revoked()) {
            let revoked = cloud.hosts.revoked();
            strata_credentials::revoke(&layout.secrets().join("nats"), &revoked.iter().cloned().collect())?;
            known = Some(revoked.clone());
        }
        if bring_up_to_date(layout, settings)? {
            match (&settings.nats_url, Record::read(layout, "nats")) {
                (None, Some(server)) => server.signal(libc::SIGHUP),
                _ => tracing::warn!("who may use NATS has changed: its server must be given the new trust.conf, and read it (SIGHUP)"),
            }
        }
        let changed = async {
            loop {
                positions.changed().await?;
                if known.as_ref() != Some(conductor.latest().hosts.revoked()) {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        // The writer's end is told elsewhere.
        let _ = tokio::time::timeout(LOOK, changed).await;
    }
}

/// Writes the configuration; whether it was another one before.
fn bring_up_to_date(layout: &Layout, settings: &Settings) -> Result<bool> {
    let file = layout.secrets().join("nats/nats-server.conf");
    let before = std::fs::read(&file).unwrap_or_default();
    let config = paths(layout, settings)?.config;
    Ok(std::fs::read(config)? != before)
}

/// The key that admits hosts.
pub fn account_key(layout: &Layout, settings: &Settings) -> Result<strata_credentials::AccountKey> {
    let file = paths(layout, settings)?.account_key;
    let seed = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(strata_credentials::AccountKey::from_seed(&seed)?)
}

/// A connection with the control plane's rights.
pub async fn connect(layout: &Layout, settings: &Settings) -> Result<async_nats::Client> {
    let paths = paths(layout, settings)?;
    let options = async_nats::ConnectOptions::with_credentials_file(&paths.control_plane)
        .await
        .with_context(|| format!("can't read {}", paths.control_plane.display()))?;
    Ok(options.name("strata").connection_timeout(Duration::from_secs(2)).connect(url(settings)).await?)
}

/// Waits until the server lets us in.
pub async fn ready(layout: &Layout, settings: &Settings) -> Result<()> {
    let mut last = String::new();
    for _ in 0..200 {
        match connect(layout, settings).await {
            Ok(_) => return Ok(()),
            Err(e) => last = format!("{e:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match &settings.nats_url {
        None => bail!("NATS at {} does not let us in: {last} (its log: {})", url(settings), layout.log_file("nats").display()),
        Some(url) => bail!(
            "NATS at {url} does not let us in: {last}. It must run with JetStream and trust this cloud: copy {trust} beside its \
             configuration, `include` it there, start it, and run `strata up` again",
            trust = paths(layout, settings)?.trust.display()
        ),
    }
}

/// A connection that is made when the server comes, and again whenever it went away.
pub async fn link(layout: &Layout, settings: &Settings) -> Result<Link> {
    let file = paths(layout, settings)?.control_plane;
    let credentials = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    strata_writer::nats::connect(&url(settings), &credentials).await.map_err(|e| anyhow!(e))
}
