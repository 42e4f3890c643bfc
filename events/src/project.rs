//! What can happen to a project, the owner of resources.
use crate::{DomainId, ProjectId};
use serde_json::{Map, Value};

aggregate! {
    /// Events of one project.
    pub enum ProjectEvent: "project" {
        /// A project came into being.
        ProjectCreated { id: ProjectId, domain: DomainId,
            /// The project above it; none directly below its domain.
            parent: Option<ProjectId>,
            name: String, description: String, enabled: bool, tags: Vec<String>,
            /// `immutable`: what Keystone calls resource options.
            options: Map<String, Value>, extra: Map<String, Value> },
        /// Attributes were changed; those absent stayed. `extra` is merged; null removes.
        ProjectUpdated { id: ProjectId, name: Option<String>, description: Option<String>, enabled: Option<bool>, tags: Option<Vec<String>>, options: Option<Map<String, Value>>, extra: Map<String, Value> },
        /// The project is gone.
        ProjectDeleted { id: ProjectId },
    }
}
