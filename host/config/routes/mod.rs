//! `[[routes]]`: which requests go to which upstream under which policy.

mod checks;
mod keys;
mod read;
mod types;

pub(crate) use read::{Scope, read};
pub use types::{ClientGone, OnError, PrincipalChanged, RouteConfig};
