//! Secrets lie sealed beside the log; it names them. **Invariant: one that nothing live names may be removed**, so whatever names
//! a secret is listed here. A test compares this list with the events' schema.

use super::Cloud;
use std::collections::HashSet;
use strata_events::SecretId;

impl Cloud {
    /// Every secret that something live names.
    pub fn secrets(&self) -> HashSet<SecretId> {
        let user_data = self.instances.values().filter_map(|i| i.spec.user_data);
        let blobs = self.credentials.values().map(|c| c.blob);
        user_data.chain(blobs).collect()
    }
}
