//! The identity API (Keystone v3).

use crate::frame::app::{ApiConfig, StartError};
use crate::frame::{App, Caller, Fault, Routes};
use std::sync::Arc;
use strata_events::Timestamp;
use strata_projections::Cloud;
use strata_writer::Conductor;

/// What identity keeps beside the log: the keys that seal tokens.
pub struct Identity {}

impl Identity {
    pub async fn open(_conductor: &Conductor, _config: &ApiConfig) -> Result<Self, StartError> {
        Ok(Self {})
    }
}

/// Who a token is for, now.
pub fn authenticate(_app: &App, _cloud: &Cloud, _now: Timestamp, _token: &str) -> Result<Arc<Caller>, Fault> {
    Err(Fault::unauthorized())
}

pub fn routes(_r: &mut Routes) {}
