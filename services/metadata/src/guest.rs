//! What the documents are made from.

use std::net::IpAddr;
use strata_projections::plan::instance::InstancePlan;

/// How many random bytes a guest is given; Nova gives as many.
pub const SEED: usize = 512;

/// The domain that host names are in, as Nova has it.
const DOMAIN: &str = "novalocal";

/// A guest, as far as its metadata are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    pub plan: &'a InstancePlan,
    pub user_data: Option<&'a [u8]>,
    /// For the guest's random number generator; another one with each answer.
    pub seed: Option<&'a [u8; SEED]>,
}

impl Guest<'_> {
    /// Its name with the domain.
    pub fn hostname(&self) -> String {
        format!("{}.{DOMAIN}", self.plan.hostname)
    }
    /// Its SSH key, or X.509 certificate, by the name that it has in the API.
    pub fn key(&self) -> Option<(&str, &str)> {
        Some((self.plan.key_name.as_deref()?, self.plan.public_key.as_deref()?))
    }
    /// Its first address of the fourth version.
    pub fn local_ipv4(&self) -> Option<IpAddr> {
        self.plan.nics.iter().flat_map(|n| &n.fixed_ips).map(|f| f.ip).find(IpAddr::is_ipv4)
    }
}
