//! Strata's own calls: what OpenStack has no API for.

mod hosts;
mod status;

use crate::frame::Routes;

pub fn routes(r: &mut Routes) {
    hosts::routes(r);
    status::routes(r);
}
