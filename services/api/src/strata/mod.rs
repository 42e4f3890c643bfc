//! The strata API.

use crate::frame::Routes;

pub fn routes(_r: &mut Routes) {}
