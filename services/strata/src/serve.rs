//! `strata serve`: the services of a cloud, all in one process or some of them in one of several.
//!
//! Every process folds the log for itself and has its own way into it (the writer decides under the log's head), so any
//! number of any of them may run. A process that can't go on ends; what keeps it starts it again.

use crate::credentials;
use crate::layout::{Layout, Settings};
use crate::live;
use crate::supervise::nats;
use crate::supervise::postgres::{self, Role};
use anyhow::{Context as _, Result, anyhow, bail};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_api::identity::password::hash_now;
use strata_api::{ApiConfig, App, Gate, Hosts, Tls};
use strata_conductor::Context;
use strata_conductor::decide::bootstrap::Bootstrap;
use strata_events::{Actor, DomainId};
use strata_log::{Log, LogConfig, Replica};
use strata_writer::nats::Progress;
use strata_writer::{Conductor, Options as WriterOptions, now};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// What a process of services can do. Each is safe to run any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// The REST APIs
    Api,
    /// Reactions, deadlines, the NATS mirror, plans, reports and leases
    Conductor,
    /// Chooses a host for each new server
    Scheduler,
    /// Keeps the `read` schema
    Projector,
}

impl Service {
    pub const ALL: [Service; 4] = [Service::Api, Service::Conductor, Service::Scheduler, Service::Projector];
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Api => "api",
            Service::Conductor => "conductor",
            Service::Scheduler => "scheduler",
            Service::Projector => "projector",
        })
    }
}

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which services
    #[arg(long, value_enum, value_delimiter = ',', default_value = "api,conductor,scheduler,projector")]
    services: Vec<Service>,
    /// Listen on this port instead of the cloud's own: a further replica of the API
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// How often a process says that it lives and how far it is.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a process waits for PostgreSQL when it starts.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(layout: Layout, options: Options) -> Result<()> {
    let mut settings = layout.settings()?;
    settings.port = options.port.unwrap_or(settings.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(layout, settings, &options.services));
    // What still runs holds nothing that must be finished: an unanswered request is wholly in the log or not at all.
    runtime.shutdown_background();
    outcome
}

async fn serve(layout: Layout, settings: Settings, services: &[Service]) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = replica_name(services);
    let conductor = Conductor::start(connect(&layout, &settings).await?, WriterOptions::default()).await.context("can't fold the log")?;
    let (log, leaving) = (conductor.log().clone(), conductor.clone());
    let ended = tokio::select! {
        outcome = work(&layout, &settings, services, &name, conductor) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), async { tokio::join!(leaving.audited(), log.goodbye(&name)) }).await;
    ended
}

fn replica_name(services: &[Service]) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let what = if services.len() == 1 { services[0].to_string() } else { "serve".into() };
    format!("{}/{what}/{}", host.trim(), std::process::id())
}

/// The log, once PostgreSQL answers.
pub async fn connect(layout: &Layout, settings: &Settings) -> Result<Log> {
    let config = LogConfig::new(postgres::url(layout, settings, Role::Service)?);
    let begun = Instant::now();
    loop {
        match Log::connect(&config).await {
            Ok(log) => return Ok(log),
            Err(e) if e.is_connection() && begun.elapsed() < PATIENCE => tracing::warn!("waiting for PostgreSQL: {e}"),
            Err(e) => return Err(e).context("can't open the log"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs the services; returns only when one of them can't go on.
async fn work(layout: &Layout, settings: &Settings, services: &[Service], name: &str, conductor: Conductor) -> Result<()> {
    bootstrap(layout, &conductor).await?;
    let link = nats::link(layout, settings).await?;
    let progress = services.contains(&Service::Conductor).then(Arc::<Progress>::default);
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    tasks.spawn(heartbeat(conductor.clone(), name.to_string(), services.iter().map(Service::to_string).collect(), progress.clone()));
    tasks.spawn(live::answer(link.client.clone(), conductor.clone(), name.to_string()));
    tasks.spawn({
        let (link, conductor) = (link.clone(), conductor.clone());
        async move {
            strata_writer::nats::hints(&link, &conductor).await;
            Ok(())
        }
    });
    for service in services {
        let conductor = conductor.clone();
        match service {
            Service::Api => {
                let listener = TcpListener::bind((settings.listen, settings.port))
                    .await
                    .with_context(|| format!("can't listen on {}:{}", settings.listen, settings.port))?;
                let tls = match (&settings.tls_cert, &settings.tls_key) {
                    (Some(certificate), Some(key)) => Some(Tls::from_files(certificate, key).map_err(|e| anyhow!(e))?),
                    _ => None,
                };
                let config = ApiConfig {
                    images: layout.images(),
                    region: credentials::REGION.into(),
                    fallback_base: settings.endpoint(),
                    gate: Some(Gate { account: Arc::new(nats::account_key(layout, settings)?), nats_url: nats::url(settings) }),
                    hosts: Some(Hosts(link.clone())),
                    ..ApiConfig::default()
                };
                let app = App::start(conductor, config).await?;
                tracing::info!("the APIs answer on {}", settings.endpoint());
                tasks.spawn(async move {
                    strata_api::serve(app, listener, tls).await;
                    Ok(())
                });
            }
            Service::Conductor => {
                tasks.spawn({
                    let (layout, settings, conductor) = (layout.clone(), settings.clone(), conductor.clone());
                    async move { nats::keep_out(&layout, &settings, &conductor).await }
                });
                let (link, progress) = (link.clone(), progress.clone().unwrap_or_default());
                tasks.spawn(async move {
                    tokio::join!(conductor.sweep(), conductor.sweep_secrets(), strata_writer::nats::conduct(&link, &conductor, &progress));
                    Ok(())
                });
            }
            Service::Scheduler => {
                tasks.spawn(async move {
                    strata_scheduler_runner::run(conductor).await;
                    Ok(())
                });
            }
            Service::Projector => {
                tasks.spawn(async move {
                    conductor.project().await;
                    Ok(())
                });
            }
        }
    }
    tokio::select! {
        why = conductor.fatal() => bail!("this replica can't go on: {why}"),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => bail!("a service ended by itself"),
            Ok(Err(e)) => Err(e),
            Err(e) => Err(e).context("a service broke down"),
        },
    }
}

/// Makes what every cloud begins with. Whoever comes first does it; asked again, it changes nothing.
async fn bootstrap(layout: &Layout, conductor: &Conductor) -> Result<()> {
    if conductor.cloud().await.map_err(|e| anyhow!("{e}"))?.users.by_name(&DomainId::DEFAULT, "admin").is_some() {
        return Ok(());
    }
    let hash = |user: &str| credentials::password(layout, user).map(|p| hash_now(&p));
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|e| anyhow!("the kernel gives no random bytes: {e}"))?;
    let command = Bootstrap {
        seed: uuid::Uuid::from_bytes(seed),
        region: credentials::REGION.into(),
        admin_hash: hash("admin")?,
        demo_hash: hash("demo")?,
    };
    let request = uuid::Builder::from_random_bytes(seed).into_uuid();
    let context = Context { now: now(), actor: Actor::service("bootstrap"), request_id: format!("req-{request}"), caused_by: None };
    conductor.run(context, command).await.map_err(|e| anyhow!("can't make what every cloud begins with: {e}"))?;
    Ok(())
}

async fn heartbeat(conductor: Conductor, name: String, services: Vec<String>, progress: Option<Arc<Progress>>) -> Result<()> {
    let started_at = now();
    let mut tick = tokio::time::interval(HEARTBEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let replica = Replica {
            name: name.clone(),
            services: services.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            applied: conductor.latest().position,
            started_at,
            details: match &progress {
                Some(p) => serde_json::json!({"mirror": p.mirrored(), "plans": p.planned()}).to_string(),
                None => "{}".into(),
            },
        };
        // Without the database there is nobody to tell; the writer says so where it matters.
        if let Err(e) = conductor.log().heartbeat(&replica).await {
            tracing::debug!("no heartbeat: {e}");
        }
    }
}
