//! What a worker sees to: instances, ports, or both. A real host has a process for each, a simulated one has both in one. The
//! two never talk to each other: the plan says when an instance's ports are plugged.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use strata_compute::{Compute, Hypervisor};
use strata_events::host::Inventory;
use strata_events::{InstanceId, PortId, SecurityGroupId};
use strata_network::{Dataplane, Network};
use strata_projections::plan::Item;
use strata_projections::report::Report;

/// A planned thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    Instance(InstanceId),
    Port(PortId),
    /// The members of a security group that ports' rules name.
    Group(SecurityGroupId),
}

impl Thing {
    pub fn of(item: &Item) -> Self {
        match item {
            Item::Instance(i) => Thing::Instance(i.id),
            Item::Port(p) => Thing::Port(p.id),
            Item::Group(g) => Thing::Group(g.id),
        }
    }
}

/// What a look at a thing has come to.
pub struct Looked {
    pub thing: Thing,
    pub report: Option<Report>,
    /// It differs from the plan still: try again later.
    pub again: bool,
    /// Nothing of it is left and nothing shall be.
    pub gone: bool,
}

/// See the module. Made with [`instances`] and [`ports`].
pub trait Half: Send + Sync {
    fn minds(&self, thing: &Thing) -> bool;
    /// Brings a thing to its plan. At most one call per thing runs at a time.
    fn settle<'a>(&'a self, item: &'a Item, lease: &'a (dyn Fn() -> bool + Send + Sync)) -> BoxFuture<'a, Looked>;
    /// Returns when a thing may have changed by itself; none says that all may have.
    fn changed(&self) -> BoxFuture<'_, Option<Thing>>;
    /// What keeps it from doing its work just now.
    fn trouble(&self) -> BoxFuture<'_, Option<String>> {
        futures_util::future::ready(None).boxed()
    }
    /// What the host has, where this half knows.
    fn inventory(&self) -> BoxFuture<'_, Option<Inventory>>;
}

/// Sees to instances.
pub fn instances<H: Hypervisor>(hypervisor: Arc<H>) -> Arc<dyn Half> {
    Arc::new(Compute::new(hypervisor))
}

/// Sees to ports.
pub fn ports<D: Dataplane>(dataplane: Arc<D>) -> Arc<dyn Half> {
    Arc::new(Network::new(dataplane))
}

impl<H: Hypervisor> Half for Compute<H> {
    fn minds(&self, thing: &Thing) -> bool {
        matches!(thing, Thing::Instance(_))
    }
    fn settle<'a>(&'a self, item: &'a Item, lease: &'a (dyn Fn() -> bool + Send + Sync)) -> BoxFuture<'a, Looked> {
        async move {
            let thing = Thing::of(item);
            let Item::Instance(plan) = item else { return Looked { thing, report: None, again: false, gone: false } };
            let settled = Compute::settle(self, plan, lease).await;
            Looked { thing, report: settled.report, again: settled.again, gone: settled.gone }
        }
        .boxed()
    }
    fn changed(&self) -> BoxFuture<'_, Option<Thing>> {
        self.hypervisor().changed().map(|id| id.map(Thing::Instance)).boxed()
    }
    fn trouble(&self) -> BoxFuture<'_, Option<String>> {
        Compute::trouble(self).boxed()
    }
    fn inventory(&self) -> BoxFuture<'_, Option<Inventory>> {
        self.hypervisor().inventory().map(Result::ok).boxed()
    }
}

impl<D: Dataplane> Half for Network<D> {
    fn minds(&self, thing: &Thing) -> bool {
        matches!(thing, Thing::Port(_) | Thing::Group(_))
    }
    fn settle<'a>(&'a self, item: &'a Item, lease: &'a (dyn Fn() -> bool + Send + Sync)) -> BoxFuture<'a, Looked> {
        async move {
            let thing = Thing::of(item);
            let settled = match item {
                Item::Port(plan) => Network::settle(self, plan, lease).await,
                Item::Group(plan) => Network::members(self, plan).await,
                Item::Instance(_) => return Looked { thing, report: None, again: false, gone: false },
            };
            Looked { thing, report: settled.report, again: settled.again, gone: settled.gone }
        }
        .boxed()
    }
    fn changed(&self) -> BoxFuture<'_, Option<Thing>> {
        self.dataplane().changed().map(|id| id.map(Thing::Port)).boxed()
    }
    fn trouble(&self) -> BoxFuture<'_, Option<String>> {
        self.dataplane().trouble().boxed()
    }
    fn inventory(&self) -> BoxFuture<'_, Option<Inventory>> {
        futures_util::future::ready(None).boxed()
    }
}
