//! How much a project may use.
use crate::ProjectId;
use std::collections::BTreeMap;

aggregate! {
    /// Events of one project's limits.
    pub enum QuotaEvent: "quota" {
        /// Limits were set; those absent stayed. -1 is no limit. Names are `<service>.<resource>`: `compute.cores`, `network.port`.
        QuotaSet { id: ProjectId, limits: BTreeMap<String, i64> },
        /// The limits of one service (`compute`, `network`, …) went back to the defaults.
        QuotaReset { id: ProjectId, service: String },
    }
}
