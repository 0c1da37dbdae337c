//! Configuration (`design/configuration.md`): the operator's file, the program's values, and one fallible
//! step between them ([`load()`]).
//!
//! Nothing here opens a socket, a store or a component. [`load()`] reads the file, the environment's
//! overrides and the flags of `serve`, and reports all faults at once, each with its place and its remedy.
//!
//! Each table of the configuration has a file: server, ledger, upstreams, policies, principal, routes. Each
//! file declares the table's keys as items (`reading/key.rs`), of which `reference.md` is made. `reading/`
//! turns text into values and notes faults.

mod answers;
mod change;
mod fields;
mod ledger;
mod load;
mod outcomes;
mod policies;
mod principal;
mod probe;
mod reading;
mod reference;
mod remembering;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod upstreams;
#[cfg(test)]
mod variable_tests;

pub use change::unchangeable;
pub use fields::is_reserved;
pub use ledger::{LedgerConfig, StoreKind};
pub use load::{Config, admin_of, load};
pub use outcomes::StatusRule;
pub use policies::{ComponentSource, Instances, Policy};
pub use principal::{Anonymous, Principal, PrincipalFrom, PrincipalSource};
pub use probe::ProbeConfig;
pub use reading::fault::{Fault, Faults, Place, io_words};
pub use reading::places::{Segment, SettingFault, SettingPlaces, dotted};
pub use reading::source::{Flags, Source};
pub use reading::units::{nearest, parse_duration};
pub use reference::reference;
pub use routes::{ClientGone, OnError, PrincipalChanged, RouteConfig};
pub use server::{AccessLog, Limits, Server};
pub use upstreams::UpstreamConfig;
