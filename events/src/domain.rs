//! What can happen to a domain: the container of projects, users and groups.
use crate::DomainId;
use serde_json::{Map, Value};

aggregate! {
    /// Events of one domain.
    pub enum DomainEvent: "domain" {
        /// A domain came into being. The first is `default`.
        DomainCreated { id: DomainId, name: String, description: String, enabled: bool,
            /// Attributes that Keystone stores as given.
            extra: Map<String, Value> },
        /// Attributes were changed; those absent stayed.
        DomainUpdated { id: DomainId, name: Option<String>, description: Option<String>, enabled: Option<bool>, extra: Map<String, Value> },
        /// The domain and everything in it is gone (it was disabled before).
        DomainDeleted { id: DomainId },
    }
}
