//! What can happen to a domain: the container of projects, users and groups.
use crate::DomainId;
use serde_json::{Map, Value};

aggregate! {
    /// Events of one domain.
    pub enum DomainEvent: "domain" {
        /// A domain came into being. The first is `default`.
        DomainCreated { id: DomainId, name: String, description: String, enabled: bool, tags: Vec<String>, options: Map<String, Value>,
            /// Attributes that Keystone stores as given.
            extra: Map<String, Value> },
        /// Attributes were changed; those absent stayed. `extra` is merged; null removes.
        DomainUpdated { id: DomainId, name: Option<String>, description: Option<String>, enabled: Option<bool>, tags: Option<Vec<String>>, options: Option<Map<String, Value>>, extra: Map<String, Value> },
        /// The domain and everything in it is gone (it was disabled before).
        DomainDeleted { id: DomainId },
    }
}
