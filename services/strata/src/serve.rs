//! `strata serve`: the services of a cloud, all in one process or some of them in one of several.

use crate::layout::Layout;
use anyhow::Result;
use std::fmt;

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
    /// Listen on this port instead of the cloud's own: a further replica
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

pub fn run(layout: Layout, options: Options) -> Result<()> {
    let _ = (layout, options);
    anyhow::bail!("not yet")
}
