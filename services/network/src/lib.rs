//! What a host does about ports: compare the plan with what is plugged, and act on the difference.
//!
//! - [`converge()`] is pure: plan and observation in, actions out.
//! - [`Dataplane`] is what it acts through ([`linux`] is a real host, [`simulated`] none).
//! - [`Network`] brings one port to its plan and says what came of it; strata-worker calls it with every change.

pub mod linux;
pub mod simulated;

pub use linux::{LinuxConfig, LinuxDataplane};
pub use simulated::SimulatedDataplane;

use std::future::Future;
use std::sync::Arc;
use strata_events::PortId;
use strata_projections::plan::group::GroupPlan;
use strata_projections::plan::port::{PlannedPlug, PortPlan};
use strata_projections::report::Report;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataplaneError {
    /// It can't be reached or does not answer: nothing is known, and it is tried again.
    #[error("the data plane does not answer: {0}")]
    Unavailable(String),
    /// It refused or failed; the sentence is for the user.
    #[error("{0}")]
    Failed(String),
}

/// What is there of a port.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    Nothing,
    /// Something of it: half made, half removed, or damaged from outside.
    Part,
    /// All of it, as this says.
    Whole(Box<PlannedPlug>),
}

/// What a port is made of. Every call may be repeated: what is so already is success. Calls for different ports run at the
/// same time; for one port, one after the other.
pub trait Dataplane: Send + Sync + 'static {
    /// The ports that are plugged, as they are.
    fn list(&self) -> impl Future<Output = Result<Vec<(PortId, PlannedPlug)>, DataplaneError>> + Send;
    fn find(&self, id: &PortId) -> impl Future<Output = Result<Found, DataplaneError>> + Send;
    /// Makes the port: tap, bridge, tunnel, addresses, rules.
    fn plug(&self, id: &PortId, plug: &PlannedPlug) -> impl Future<Output = Result<(), DataplaneError>> + Send;
    /// Changes what differs, repairs what is damaged, and nothing else: the guest's traffic goes on.
    fn update(&self, id: &PortId, to: &PlannedPlug) -> impl Future<Output = Result<(), DataplaneError>> + Send;
    /// Removes all that is left of it.
    fn unplug(&self, id: &PortId) -> impl Future<Output = Result<(), DataplaneError>> + Send;
    /// From now on these are the members of a group that rules name. May come before or after the ports with such rules.
    fn members(&self, group: &GroupPlan) -> impl Future<Output = Result<(), DataplaneError>> + Send;
    /// What keeps ports from working just now, in words for whoever runs the host.
    fn trouble(&self) -> impl Future<Output = Option<String>> + Send {
        async { self.list().await.err().map(|e| e.to_string()) }
    }
    /// Returns when a port may have changed by itself; none says that all may have.
    fn changed(&self) -> impl Future<Output = Option<PortId>> + Send;
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Plug,
    Update,
    Unplug,
}

/// What to do. A port is made only with a lease: its addresses may belong to another host by now.
pub fn converge(plan: &PortPlan, found: &Found, lease: bool) -> Option<Action> {
    match (&plan.plug, found) {
        (None, Found::Nothing) => None,
        (None, _) => Some(Action::Unplug),
        (Some(_), Found::Nothing) => lease.then_some(Action::Plug),
        (Some(wanted), Found::Whole(is)) if wanted == &**is => None,
        (Some(_), _) => lease.then_some(Action::Update),
    }
}

/// What bringing one port to its plan has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub report: Option<Report>,
    /// It differs from the plan still: try again later.
    pub again: bool,
    /// Nothing of it is left and nothing shall be: it may be forgotten.
    pub gone: bool,
}

/// The ports of one host.
pub struct Network<D> {
    dataplane: Arc<D>,
}

impl<D: Dataplane> Network<D> {
    pub fn new(dataplane: Arc<D>) -> Self {
        Self { dataplane }
    }
    pub fn dataplane(&self) -> &Arc<D> {
        &self.dataplane
    }

    /// Brings a port to its plan. At most one call per port may run at a time.
    pub async fn settle(&self, plan: &PortPlan, lease: &(dyn Fn() -> bool + Send + Sync)) -> Settled {
        match self.act(plan, lease).await {
            Ok(settled) => settled,
            Err(DataplaneError::Unavailable(why)) => {
                tracing::warn!(port = %plan.id, %why, "the data plane does not answer");
                Settled { report: None, again: true, gone: false }
            }
            Err(DataplaneError::Failed(reason)) => {
                Settled { report: Some(Report::PortFailed { id: plan.id, reason }), again: true, gone: false }
            }
        }
    }

    /// Tells the data plane who is in a group. Reported is nothing: the ports' own plugging is.
    pub async fn members(&self, group: &GroupPlan) -> Settled {
        let told = self.dataplane.members(group).await;
        if let Err(why) = &told {
            tracing::warn!(group = %group.id, %why, "the members of a security group could not be changed");
        }
        Settled { report: None, again: told.is_err(), gone: false }
    }

    async fn act(&self, plan: &PortPlan, lease: &(dyn Fn() -> bool + Send + Sync)) -> Result<Settled, DataplaneError> {
        let id = &plan.id;
        let is = self.dataplane.find(id).await?;
        let action = converge(plan, &is, lease());
        if let Some(action) = action {
            tracing::debug!(port = %id, ?action, "acts");
        }
        match (action, &plan.plug) {
            (Some(Action::Plug), Some(to)) => self.dataplane.plug(id, to).await?,
            (Some(Action::Update), Some(to)) => self.dataplane.update(id, to).await?,
            (Some(Action::Unplug), _) => self.dataplane.unplug(id).await?,
            _ => {}
        }
        Ok(match &plan.plug {
            None => Settled { report: Some(Report::PortAbsent { id: *id }), again: false, gone: true },
            Some(wanted) if action.is_some() || matches!(&is, Found::Whole(is) if **is == *wanted) => {
                Settled { report: Some(Report::PortPlugged { id: *id }), again: false, gone: false }
            }
            Some(_) => Settled { report: None, again: true, gone: false },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_events::network::Segment;
    use strata_events::port::MacAddress;
    use strata_events::{NetworkId, ProjectId};

    fn plug() -> PlannedPlug {
        PlannedPlug {
            project: ProjectId(uuid::Uuid::nil()),
            network: NetworkId(uuid::Uuid::nil()),
            network_revision: 1,
            dns_domain: String::new(),
            subnets: vec![],
            dhcp: None,
            address_pairs: vec![],
            hostname: None,
            extra_dhcp_opts: vec![],
            stateful: true,
            segment: Segment::Vxlan { vni: 1001 },
            mtu: 1450,
            mac: MacAddress([0xfa, 0x16, 0x3e, 0, 0, 1]),
            fixed_ips: vec![],
            admin_state_up: true,
            port_security_enabled: true,
            device_id: String::new(),
            device_owner: String::new(),
            rules: vec![],
        }
    }
    fn plan(plug: Option<PlannedPlug>) -> PortPlan {
        PortPlan { id: PortId(uuid::Uuid::max()), plug }
    }

    #[test]
    fn only_what_differs_is_touched_and_nothing_is_made_without_a_lease() {
        let (up, down) = (plan(Some(plug())), plan(None));
        let down_link = PlannedPlug { admin_state_up: false, ..plug() };
        let (whole, other) = (Found::Whole(Box::new(plug())), Found::Whole(Box::new(down_link)));
        assert_eq!(converge(&up, &Found::Nothing, true), Some(Action::Plug));
        assert_eq!(converge(&up, &Found::Nothing, false), None);
        assert_eq!(converge(&up, &whole, true), None);
        for differs in [&other, &Found::Part] {
            assert_eq!(converge(&up, differs, true), Some(Action::Update));
            assert_eq!(converge(&up, differs, false), None);
            assert_eq!(converge(&down, differs, false), Some(Action::Unplug));
        }
        assert_eq!(converge(&down, &Found::Nothing, true), None);
    }

    #[tokio::test]
    async fn a_port_is_plugged_changed_and_gone() {
        let network = Network::new(Arc::new(SimulatedDataplane::default()));
        let (up, id) = (plan(Some(plug())), plan(None).id);
        let plugged = Settled { report: Some(Report::PortPlugged { id }), again: false, gone: false };
        assert_eq!(network.settle(&up, &|| false).await, Settled { report: None, again: true, gone: false });
        assert_eq!(network.settle(&up, &|| true).await, plugged);
        assert_eq!(network.settle(&up, &|| false).await, plugged, "what is there is there, lease or not");
        assert_eq!(network.dataplane().changes(), 1, "a second look changes nothing");
        let gone = Settled { report: Some(Report::PortAbsent { id }), again: false, gone: true };
        assert_eq!(network.settle(&plan(None), &|| false).await, gone);
        assert!(network.dataplane().list().await.is_ok_and(|l| l.is_empty()));
    }
}
