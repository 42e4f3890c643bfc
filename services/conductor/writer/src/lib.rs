//! The one way into the log. (Interface; the writer itself follows.)

use std::sync::Arc;
use strata_conductor::{Command, Context, Refusal};
use strata_events::Recorded;
use strata_projections::Cloud;

/// What a command led to.
pub struct Done {
    pub cloud: Arc<Cloud>,
    pub position: u64,
    pub events: Vec<Arc<Recorded>>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Refused(Refusal),
    #[error("too many commands are waiting")]
    Busy,
    #[error("the log can't be reached: {0}")]
    Unavailable(String),
}

/// A handle to the writer.
#[derive(Clone)]
pub struct Conductor {
    latest: Arc<Cloud>,
}

impl Conductor {
    pub async fn run(&self, _: Context, _: impl Command) -> Result<Done, Failure> {
        Err(Failure::Unavailable("not connected".into()))
    }
    pub async fn cloud(&self) -> Result<Arc<Cloud>, Failure> {
        Err(Failure::Unavailable("not connected".into()))
    }
    pub fn latest(&self) -> Arc<Cloud> {
        self.latest.clone()
    }
}
