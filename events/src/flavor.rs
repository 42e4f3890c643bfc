//! What can happen to a flavor: the size of a server.
use crate::{FlavorId, ProjectId};
use std::collections::BTreeMap;

aggregate! {
    /// Events of one flavor.
    pub enum FlavorEvent: "flavor" {
        /// A flavor came into being.
        FlavorCreated { id: FlavorId, name: String, description: Option<String>, vcpus: u32,
            /// MiB
            ram: u64,
            /// GiB
            disk: u64,
            /// GiB
            ephemeral: u64,
            /// MiB
            swap: u64,
            rxtx_factor: f64, is_public: bool, extra_specs: BTreeMap<String, String> },
        /// The description was changed.
        FlavorDescribed { id: FlavorId, description: Option<String> },
        /// Extra specs were set; those absent stayed.
        FlavorExtraSpecsSet { id: FlavorId, extra_specs: BTreeMap<String, String> },
        /// An extra spec was removed.
        FlavorExtraSpecRemoved { id: FlavorId, key: String },
        /// A project may use this non-public flavor.
        FlavorAccessGranted { id: FlavorId, project: ProjectId },
        /// It may no more.
        FlavorAccessRevoked { id: FlavorId, project: ProjectId },
        /// The flavor is gone; servers keep their copy of it.
        FlavorDeleted { id: FlavorId },
    }
}
