//! What every API call goes through, in this order: request id, route, microversion, token, policy, body, handler, answer or
//! fault, audit.
//!
//! **Invariant: identity comes from the token alone.** No header that a client can send names a user, a project or a role.

mod answer;
pub mod app;
mod audit;
mod body;
mod caller;
mod ctx;
mod dispatch;
mod fault;
mod microversion;
mod paging;
mod policy;
mod query;
mod routes;
pub mod serve;
mod service;

pub use answer::{Answer, Reply};
pub use app::App;
pub use audit::Trail;
pub use body::Raw;
pub use caller::{Caller, Scope};
pub use ctx::Ctx;
pub use dispatch::dispatch;
pub(crate) use dispatch::{new_uuid, now};
pub use fault::Fault;
pub use microversion::Microversion;
pub use paging::{Page, Paged, sort_keys};
pub use policy::{Rule, Who};
pub use query::Query;
pub use routes::{Params, Route, Routes};
pub use service::Service;
