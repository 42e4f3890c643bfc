//! What time does to instances: a transient state whose deadline has passed ends with a reason (invariant 7).

use crate::Command;
use crate::decide::instance::ExpireInstance;
use strata_events::Timestamp;
use strata_projections::Cloud;

/// At most so many in one sweep; the rest come in the next.
const AT_ONCE: usize = 512;

pub fn sweep(cloud: &Cloud, now: Timestamp) -> Vec<Box<dyn Command>> {
    cloud.instances.overdue(now).take(AT_ONCE).map(|i| Box::new(ExpireInstance { id: i.id }) as Box<dyn Command>).collect()
}
