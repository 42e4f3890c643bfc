//! The compute API (Nova v2.1). Source: compute api-ref; nova's doc/api_samples for the exact shapes.

mod keypairs;

use crate::frame::app::{ApiConfig, StartError};
use crate::frame::{Microversion, Routes};
use strata_writer::Conductor;

pub const MIN_VERSION: Microversion = Microversion(2, 1);
pub const MAX_VERSION: Microversion = Microversion(2, 96);

/// What compute keeps beside the log: the key that seals user data.
pub struct Compute {}

impl Compute {
    pub async fn open(_conductor: &Conductor, _config: &ApiConfig) -> Result<Self, StartError> {
        Ok(Self {})
    }
}

pub fn routes(r: &mut Routes) {
    keypairs::routes(r);
}
