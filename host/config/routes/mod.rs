//! `[[routes]]`: the requests of each route, their upstream and their policy.

mod checks;
mod keys;
mod read;
mod types;

pub(crate) use read::{Scope, read};
pub use types::{ClientGone, OnError, PrincipalChanged, RouteConfig};
