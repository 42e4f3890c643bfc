//! OpenStack's REST APIs over the log: one HTTP port for all services.
//!
//! `frame` carries every call: routes, tokens, policy, microversions, strict bodies, faults, paging. A service is a folder of
//! nouns; a noun is a file with `routes` and its views. Only `frame` knows HTTP's and OpenStack's conventions, only views
//! know microversions, only the conductor's writer changes anything.

pub mod compute;
pub mod frame;
pub mod identity;
pub mod image;
pub mod network;
pub mod strata;

pub use frame::app::{Api, ApiConfig, App, Gate, Hosts};
pub use frame::serve::{Tls, serve};
