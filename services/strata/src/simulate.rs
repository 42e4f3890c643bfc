//! `strata simulate`: hosts without hypervisors, for trying things and for tests. They use the code of real workers, and have
//! what those have: the credentials of their host, and no way to the database.

use crate::layout::{Layout, write_private};
use crate::supervise::nats;
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strata_conductor::Context;
use strata_credentials::AccountKey;
use strata_events::{Actor, HostName};
use strata_worker::{Identity, SimulateOptions};
use strata_writer::nats::{JoinAsk, invite};
use strata_writer::{Conductor, Options as WriterOptions, now};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many hosts
    #[arg(long, value_name = "N", default_value_t = 1)]
    hosts: u32,
    /// How long a server takes to boot, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    boot_time: u64,
    /// How many of a hundred starts fail
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    failures: u8,
    /// Repeats the failures of a run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub struct WorkerOptions {
    /// The cloud's address: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The name that the machine was invited as
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The file that holds the token of `strata host invite`; needed once
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The availability zone [nova]
    #[arg(long, value_name = "ZONE", default_value = "")]
    zone: String,
}

/// `strata worker`: one machine as a host. It joins once, keeps what it got in the data directory, and needs nothing else
/// from then on. Its hypervisor is simulated, the only one there is so far.
pub fn worker(layout: Layout, options: WorkerOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        crate::layout::dir(&layout.data, 0o700)?;
        crate::layout::dir(&layout.hosts(), 0o700)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let host = HostName(options.name.clone());
        let file = identity_file(&layout, &host);
        let identity: Identity = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))?,
            Err(_) => {
                let identity = join_over_http(&options).await?;
                keep(&layout, &identity)?;
                out!("joined as {host}");
                identity
            }
        };
        let how = SimulateOptions { directory: Some(layout.hosts().join("simulated")), ..SimulateOptions::default() };
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        strata_worker::simulate(vec![identity], how, stop).await.context("the worker can't go on")
    })
}

async fn join_over_http(options: &WorkerOptions) -> Result<Identity> {
    let Some(token_file) = &options.token_file else {
        bail!("this machine has not joined yet: give --token-file (`strata host invite {}`)", options.name)
    };
    let token = std::fs::read_to_string(token_file).with_context(|| format!("can't read {}", token_file.display()))?;
    let (seed, public_key) = strata_credentials::new_host_key()?;
    let body = serde_json::json!({"host": {
        "token": token.trim(), "host": options.name, "public_key": public_key, "zone": options.zone,
        "inventory": SimulateOptions::default().inventory,
    }});
    let answer = crate::http::post(&options.endpoint, "/strata/v1/hosts", &body).await?;
    let field =
        |name: &str| answer["host"][name].as_str().map(str::to_string).with_context(|| format!("the answer has no {name}: {answer}"));
    Ok(Identity { host: HostName(options.name.clone()), nats_url: field("nats_url")?, jwt: field("jwt")?, seed })
}

/// The name of the nth simulated host.
fn name(n: u32) -> HostName {
    HostName(format!("sim-{n}"))
}

fn identity_file(layout: &Layout, host: &HostName) -> PathBuf {
    layout.hosts().join(format!("{host}.json"))
}

/// Runs the hosts until told to stop.
pub fn run(layout: Layout, options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hosts = vec![];
        for host in (1..=options.hosts).map(name) {
            let file = identity_file(&layout, &host);
            let text = std::fs::read_to_string(&file).with_context(|| {
                format!("host {host} has not joined ({}): `strata host simulated {}` lets them", file.display(), options.hosts)
            })?;
            hosts.push(serde_json::from_str::<Identity>(&text).with_context(|| format!("{} is damaged", file.display()))?);
        }
        let how = SimulateOptions {
            boot_time: Duration::from_millis(options.boot_time),
            failures_percent: options.failures,
            seed: options.seed,
            directory: Some(layout.hosts().join("simulated")),
            ..SimulateOptions::default()
        };
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        strata_worker::simulate(hosts, how, stop).await.context("the simulated hosts can't go on")
    })
}

/// Lets so many simulated hosts join that have not yet: with a key and a permit of their own, as real ones do. The control
/// plane does it for them, since they run on its machine.
pub async fn enrol(layout: Layout, count: u32) -> Result<()> {
    let settings = layout.settings()?;
    let url = nats::url(&settings);
    let mut missing = vec![];
    for host in (1..=count).map(name) {
        let kept = std::fs::read(identity_file(&layout, &host)).ok().and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        match kept {
            Some(identity) if identity.nats_url == url => {}
            // The server was moved: the same key and permit are good there too.
            Some(identity) => keep(&layout, &Identity { nats_url: url.clone(), ..identity })?,
            None => missing.push(host),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let account = Arc::new(nats::account_key(&layout, &settings)?);
    let log = crate::serve::connect(&layout, &settings).await?;
    let conductor = Conductor::start(log, WriterOptions { react: false, ..WriterOptions::default() }).await?;
    let mut joining = tokio::task::JoinSet::new();
    for host in missing {
        let (conductor, account, url, layout) = (conductor.clone(), account.clone(), url.clone(), layout.clone());
        joining.spawn(async move {
            let identity = join(&conductor, &account, &url, &host).await.with_context(|| format!("host {host} can't join"))?;
            keep(&layout, &identity)
        });
    }
    while let Some(joined) = joining.join_next().await {
        joined??;
    }
    Ok(())
}

fn keep(layout: &Layout, identity: &Identity) -> Result<()> {
    write_private(&identity_file(layout, &identity.host), &serde_json::to_vec(identity)?)
}

/// Invited and joined in one go: nobody else sees the token.
async fn join(conductor: &Conductor, account: &AccountKey, url: &str, host: &HostName) -> Result<Identity> {
    let (seed, public_key) = strata_credentials::new_host_key()?;
    let token = invite(conductor, context()?, host, 60).await.map_err(|e| anyhow!("{e}"))?;
    let inventory = SimulateOptions::default().inventory;
    let ask = JoinAsk { token, host: host.to_string(), public_key, zone: String::new(), inventory };
    let joined = strata_writer::nats::join(conductor, account, url, context()?, ask).await.map_err(|e| anyhow!("{e}"))?;
    Ok(Identity { host: joined.host, nats_url: joined.nats_url, jwt: joined.jwt, seed })
}

/// For commands that an operator gives on the machine itself.
pub fn context() -> Result<Context> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("the kernel gives no random bytes: {e}"))?;
    let request = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(Context { now: now(), actor: Actor::service("cli"), request_id: format!("req-{request}"), caused_by: None })
}
