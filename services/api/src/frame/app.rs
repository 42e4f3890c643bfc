//! What all requests share.

use super::{Routes, Service};
use std::path::PathBuf;
use std::sync::Arc;
use strata_writer::Conductor;

/// What an operator sets.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where image data and uploads lie.
    pub images: PathBuf,
    /// bytes; larger uploads are refused with 413
    pub max_image_size: u64,
    /// The lifetime of a token in seconds.
    pub token_lifetime: i64,
    /// The region that the catalog names.
    pub region: String,
    /// For requests without a Host header.
    pub fallback_base: String,
    /// Requests in progress at once; more get 503.
    pub max_requests: usize,
    /// What lets hosts in, where this API may.
    pub gate: Option<Gate>,
    /// The way to ask hosts, where this API has one.
    pub hosts: Option<Hosts>,
}

/// Asks hosts over NATS for what only they have.
#[derive(Clone)]
pub struct Hosts(pub strata_writer::nats::Link);

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hosts")
    }
}

/// The key that signs a host's permit, and where the host then goes.
#[derive(Clone)]
pub struct Gate {
    pub account: Arc<strata_credentials::AccountKey>,
    pub nats_url: String,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({})", self.nats_url)
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            images: PathBuf::from("images"),
            max_image_size: 50 << 30,
            token_lifetime: 12 * 3600,
            region: "RegionOne".into(),
            fallback_base: "http://127.0.0.1".into(),
            max_requests: 2048,
            gate: None,
            hosts: None,
        }
    }
}

/// What every request can reach.
pub struct App {
    pub conductor: Conductor,
    pub config: ApiConfig,
    pub routes: Routes,
    pub identity: crate::identity::Identity,
    pub images: crate::image::Images,
    pub compute: crate::compute::Compute,
    pub(super) slots: Arc<tokio::sync::Semaphore>,
    pub(super) tls: std::sync::atomic::AtomicBool,
}

/// The API as one value.
pub type Api = Arc<App>;

impl App {
    /// Opens what the services keep beside the log (token keys, image store) and builds the table of routes.
    pub async fn start(conductor: Conductor, config: ApiConfig) -> Result<Api, StartError> {
        let identity = crate::identity::Identity::open(&conductor, &config).await?;
        let images = crate::image::Images::open(&conductor, &config).await?;
        let compute = crate::compute::Compute::open(&conductor, &config).await?;
        let slots = Arc::new(tokio::sync::Semaphore::new(config.max_requests));
        Ok(Arc::new(App { conductor, config, routes: routes(), identity, images, compute, slots, tls: false.into() }))
    }
}

/// Why the API could not start.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct StartError {
    pub what: &'static str,
    pub why: String,
}

/// Every route of every service.
pub fn routes() -> Routes {
    let mut r = Routes::default();
    r.mount(Service::Identity, &["", "/identity"], crate::identity::routes);
    r.mount(Service::Compute, &["/compute"], crate::compute::routes);
    r.mount(Service::Image, &["/image"], crate::image::routes);
    r.mount(Service::Network, &["/network"], crate::network::routes);
    r.mount(Service::Strata, &["/strata"], crate::strata::routes);
    r
}
