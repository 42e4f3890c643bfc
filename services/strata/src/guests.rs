//! What joins the parts of a host: the way to the control plane as compute and metadata want it, the doors at which guests knock,
//! and the guests that the plan names.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use strata_compute::libvirt::{FetchError, ImageSource};
use strata_events::host::Inventory;
use strata_events::{InstanceId, NetworkId, SecretId};
use strata_metadata::Metadata;
use strata_metadata::server::{Door, Doors};
use strata_network::linux::{LinuxConfig, netns};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::Item;
use strata_projections::plan::instance::{InstancePlan, PlannedImage};
use strata_worker::http::HttpError;
use strata_worker::{Access, Half, Looked, Thing};

/// What a host may ask of the control plane.
pub struct HostAccess(pub Access);

impl strata_metadata::server::Secrets for HostAccess {
    fn open(&self, id: SecretId) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        self.0.user_data(id).boxed()
    }
}

impl strata_metadata::server::Passwords for HostAccess {
    fn keep(&self, id: InstanceId, password: String) -> BoxFuture<'_, Result<bool, String>> {
        self.0.keep_password(id, password).boxed()
    }
}

impl strata_compute::libvirt::Secrets for HostAccess {
    fn open<'a>(&'a self, id: &'a SecretId) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>> {
        self.0.user_data(*id).boxed()
    }
}

impl ImageSource for HostAccess {
    fn fetch<'a>(&'a self, image: &'a PlannedImage, into: &'a Path) -> Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>> {
        async move {
            self.0.image(image.id, image.size, into).await.map_err(|e| match e {
                HttpError::File(_, e) => FetchError::File(e),
                HttpError::Refused { status: 404, .. } => FetchError::Gone,
                HttpError::Failed(_) => FetchError::Never(e.to_string()),
                HttpError::Refused { .. } | HttpError::Silent { .. } => FetchError::Again(e.to_string()),
            })
        }
        .boxed()
    }
}

/// Doors in the networks' namespaces of this host.
pub struct NetworkDoors(pub LinuxConfig);

impl Doors for NetworkDoors {
    fn open(&self, network: &NetworkId) -> io::Result<Door> {
        let place = self.place(network)?;
        netns::in_namespace(&self.0.namespace(network), || Door::here(place))?
    }
    fn place(&self, network: &NetworkId) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(self.0.namespace(network))?.ino())
    }
}

/// The instances of the plan, for metadata: there is nothing to bring about.
pub struct Guests {
    metadata: Arc<Metadata>,
    known: Mutex<Known>,
}

/// In the order in which they were last told. The end of a server may go by unheard while NATS is away; whoever has its address
/// then was told later.
#[derive(Default)]
struct Known {
    told: u64,
    plans: BTreeMap<InstanceId, (u64, InstancePlan)>,
}

impl Known {
    fn tell(&mut self, plan: &InstancePlan) {
        self.told += 1;
        if plan.wanted == Wanted::Absent {
            self.plans.remove(&plan.id);
        } else {
            self.plans.insert(plan.id, (self.told, plan.clone()));
        }
    }
    fn in_order(&self) -> Vec<InstancePlan> {
        let mut plans: Vec<_> = self.plans.values().collect();
        plans.sort_by_key(|(told, _)| *told);
        plans.into_iter().map(|(_, plan)| plan.clone()).collect()
    }
}

impl Guests {
    pub fn new(metadata: Arc<Metadata>) -> Arc<Self> {
        Arc::new(Self { metadata, known: Mutex::default() })
    }
}

impl Half for Guests {
    fn minds(&self, thing: &Thing) -> bool {
        matches!(thing, Thing::Instance(_))
    }
    fn settle<'a>(&'a self, item: &'a Item, _: &'a (dyn Fn() -> bool + Send + Sync)) -> BoxFuture<'a, Looked> {
        async move {
            let thing = Thing::of(item);
            let Item::Instance(plan) = item else { return Looked { thing, report: None, again: false, gone: false } };
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.tell(plan);
            self.metadata.update(known.in_order());
            Looked { thing, report: None, again: false, gone: plan.wanted == Wanted::Absent }
        }
        .boxed()
    }
    fn changed(&self) -> BoxFuture<'_, Option<Thing>> {
        std::future::pending().boxed()
    }
    fn inventory(&self) -> BoxFuture<'_, Option<Inventory>> {
        std::future::ready(None).boxed()
    }
}
