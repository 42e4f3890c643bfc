//! `strata up`: starts a cloud and returns when it answers; run again, it changes nothing and says so.

use crate::layout::{Layout, Settings};
use crate::leftovers;
use crate::process::{self, Record};
use crate::supervise::{self, Lock, READY};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The address to listen on [127.0.0.1, or what it was before]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// The one port of all APIs [5000, or what it was before]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Use this PostgreSQL instead of a private one; the role must be able to create roles and to own the database
    #[arg(long, value_name = "URL")]
    postgres_url: Option<String>,
    /// Use this NATS server (with JetStream) instead of a private one
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Run this many simulated hosts, and no hypervisor
    #[arg(long, value_name = "N", conflicts_with = "libvirt_uri")]
    simulated: Option<u32>,
    /// Run servers on this libvirt (of this machine) instead of a private one
    #[arg(long, value_name = "URI")]
    libvirt_uri: Option<String>,
    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Run each service in a process of its own
    #[arg(long)]
    separate: bool,
    /// Stay in the foreground until told to stop
    #[arg(long)]
    foreground: bool,
}

impl Options {
    /// The settings kept from before, with what was said now.
    fn over(self, kept: Option<Settings>) -> Result<Settings> {
        let mut settings = kept.unwrap_or_default();
        settings.listen = self.listen.unwrap_or(settings.listen);
        settings.port = self.port.unwrap_or(settings.port);
        settings.hypervisor = (settings.hypervisor || self.libvirt_uri.is_some()) && self.simulated.is_none();
        settings.simulated = self.simulated.unwrap_or(settings.simulated);
        settings.libvirt_uri = self.libvirt_uri.or(settings.libvirt_uri);
        settings.separate |= self.separate;
        settings.postgres_url = self.postgres_url.or(settings.postgres_url);
        settings.nats_url = self.nats_url.or(settings.nats_url);
        if self.tls_cert.is_some() {
            let absolute = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
            (settings.tls_cert, settings.tls_key) = (absolute(self.tls_cert)?, absolute(self.tls_key)?);
        }
        Ok(settings)
    }
}

pub fn run(layout: Layout, options: Options) -> Result<()> {
    let begun = Instant::now();
    let foreground = options.foreground;
    if layout.data.exists() && !layout.settings_file().exists() && has_files(&layout) {
        bail!("{} holds files that are not a Strata cloud's: name an empty or a new directory with --data", layout.data.display());
    }
    layout.create()?;
    let kept = layout.settings_file().exists().then(|| layout.settings()).transpose()?;
    let Some(lock) = Lock::take(&layout)? else {
        let settings = kept.context("another `strata up` is just beginning here; wait for it")?;
        if options.over(Some(settings.clone()))? != settings {
            bail!("a cloud runs here already, with other options than these: `strata down` first, then `strata up` with them again");
        }
        out!("already running: changes nothing.");
        advise(&layout, &settings);
        return Ok(());
    };
    let mut settings = options.over(kept)?;
    check_port(&settings)?;
    if settings.nats_url.is_none() && (settings.nats_port == 0 || TcpListener::bind(("127.0.0.1", settings.nats_port)).is_err()) {
        settings.nats_port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    }
    layout.keep_settings(&settings)?;
    if let Some(closed) = layout.barrier().filter(|_| settings.libvirt_uri.is_some()) {
        out!(
            "note: {} is closed to other users: if that libvirt runs QEMU as another user than root, guests can't get at their disks; \
             open it (chmod o+x {0}), or choose another place with --data",
            closed.display()
        );
    }
    drop(lock); // the supervisor takes it
    if foreground {
        return supervise_here(layout, settings);
    }
    in_background(&layout)?;
    out!("Strata is up after {:.1} s.", begun.elapsed().as_secs_f32());
    advise(&layout, &settings);
    Ok(())
}

fn has_files(layout: &Layout) -> bool {
    // What `create` makes is no sign of a foreign directory: an earlier `up` may have stopped right after it.
    let ours = ["run", "log", "secrets", "images", "hosts", "host"];
    std::fs::read_dir(&layout.data).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| !ours.iter().any(|o| e.file_name() == **o))))
}

fn check_port(settings: &Settings) -> Result<()> {
    match TcpListener::bind((settings.listen, settings.port)) {
        Ok(_) => Ok(()),
        Err(e) => bail!("can't listen on {}:{}: {e}. Choose another with --port", settings.listen, settings.port),
    }
}

/// What `up` becomes with --foreground, and what it starts without.
pub fn supervise_here(layout: Layout, settings: Settings) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, supervise::run(layout, settings))
}

/// Starts the supervisor apart from this terminal and shows what it does until all is up.
fn in_background(layout: &Layout) -> Result<()> {
    let log = layout.log_file("supervisor");
    // Begun anew, and appended to, so that it can be shortened under its writer.
    let _ = std::fs::remove_file(&log);
    let errors =
        std::fs::OpenOptions::new().create(true).append(true).open(&log).with_context(|| format!("can't write {}", log.display()))?;
    let mut command = std::process::Command::new(supervise::services::program()?);
    command.arg("supervise").arg("--data").arg(&layout.data).current_dir("/").env(crate::layout::DATA_VARIABLE, &layout.data);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(errors);
    process::detach(&mut command);
    let mut child = command.spawn().context("can't start the supervisor")?;
    let output = child.stdout.take().context("the supervisor has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == READY {
            return Ok(());
        }
        out!("{line}");
    }
    let _ = child.wait();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(12).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    bail!("the cloud did not come up:\n{}\n(all logs: {})", last.join("\n"), layout.data.join("log").display())
}

fn advise(layout: &Layout, settings: &Settings) {
    out!(
        "
  endpoint     {}/v3
  clouds.yaml  {}   (clouds strata-admin, strata-demo)
  openrc       {}, {}
  logs         {}

Try next:
  export OS_CLIENT_CONFIG_FILE={1}
  openstack --os-cloud strata-admin catalog list
  openstack --os-cloud strata-demo flavor list
  strata status --data {5}",
        settings.endpoint(),
        layout.clouds_yaml().display(),
        layout.openrc("admin").display(),
        layout.openrc("demo").display(),
        layout.data.join("log").display(),
        layout.data.display()
    );
}

#[derive(Debug, clap::Args)]
pub struct DownOptions {
    /// Remove the guests, their networks and the data directory too: nothing of the cloud is left
    #[arg(long)]
    wipe: bool,
    /// Shut the guests down too, which else go on running
    #[arg(long)]
    guests: bool,
}

/// `strata down`: ends every process of the cloud, and with --wipe removes every file.
pub fn down(layout: Layout, options: &DownOptions) -> Result<()> {
    if !layout.data.exists() {
        out!("nothing to stop: there is no {}", layout.data.display());
        return Ok(());
    }
    if !layout.settings_file().exists() && !layout.run().join("lock").exists() {
        bail!("{} is not the data directory of a Strata cloud: nothing is stopped or removed", layout.data.display());
    }
    let begun = Instant::now();
    if options.guests && !options.wipe {
        leftovers::shut_down(&layout)?;
    }
    let mut stopped = 0;
    if let Some(supervisor) = Record::read(&layout, "supervisor").filter(Record::alive) {
        out!("stopping the cloud in {} …", layout.data.display());
        supervisor.signal(libc::SIGTERM);
        stopped += 1;
        supervisor.wait_gone(Duration::from_secs(60));
    }
    // Left over from a supervisor that was killed, or started by hand.
    let left = process::of_cloud(&layout);
    stopped += left.len();
    for record in &left {
        record.signal(if record.name == "postgres" { libc::SIGINT } else { libc::SIGTERM });
    }
    for record in &left {
        if !record.wait_gone(Duration::from_secs(20)) {
            out!("killing {} ({}), which does not end when told", record.name, record.pid);
            record.signal(libc::SIGKILL);
            record.wait_gone(Duration::from_secs(5));
        }
    }
    let still = process::of_cloud(&layout);
    if !still.is_empty() {
        let names: Vec<String> = still.iter().map(|r| format!("{} ({})", r.name, r.pid)).collect();
        bail!("these processes do not end: {}", names.join(", "));
    }
    if stopped == 0 {
        out!("it was not running.");
    } else {
        out!("stopped after {:.1} s.", begun.elapsed().as_secs_f32());
    }
    if options.wipe {
        leftovers::remove(&layout)?;
        let socket = layout.socket_dir();
        if !socket.starts_with(&layout.data) && socket.exists() {
            std::fs::remove_dir_all(&socket).with_context(|| format!("can't remove {}", socket.display()))?;
        }
        std::fs::remove_dir_all(&layout.data).with_context(|| format!("can't remove {}", layout.data.display()))?;
        out!("removed {}.", layout.data.display());
    }
    Ok(())
}
