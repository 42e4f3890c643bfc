//! The image API (Glance v2).

use crate::frame::Routes;
use crate::frame::app::{ApiConfig, StartError};
use strata_writer::Conductor;

/// What images keep beside the log: their bytes.
pub struct Images {}

impl Images {
    pub async fn open(_conductor: &Conductor, _config: &ApiConfig) -> Result<Self, StartError> {
        Ok(Self {})
    }
}

pub fn routes(_r: &mut Routes) {}
