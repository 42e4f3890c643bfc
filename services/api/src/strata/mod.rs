//! Strata's own calls: what OpenStack has no API for.

mod status;

use crate::frame::Routes;

pub fn routes(r: &mut Routes) {
    status::routes(r);
}
