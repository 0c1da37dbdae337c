//! The ledger: begins and settles operations against a store.
//!
//! [`oncegate_core::decide()`] decides; this room carries it out. The ledger knows the executions in this
//! process (`flight`) and the requests that wait for them, keeps final records at hand (`cache`), renews
//! leases and sweeps (`keeper`). It knows no HTTP.
//!
//! Locks: the maps' shard locks are held for single steps, never across an await.

// Threads interleaved: what they share comes from these crates, in every file of this one.
#[cfg(feature = "shuttle")]
extern crate shuttled_dashmap as dashmap;
#[cfg(feature = "shuttle")]
extern crate shuttled_std as std;
#[cfg(feature = "shuttle")]
extern crate shuttled_tokio as tokio;

mod advance;
mod agreed;
mod begin;
mod cache;
mod change;
mod claim;
mod execute;
mod flight;
mod follow;
mod gate;
mod id_map;
mod identity;
mod in_doubt;
mod keeper;
mod late;
mod look;
mod operator;
mod permit;
mod probes;
mod pursue;
mod request;
mod retention;
mod routes;
mod settle;
mod state;
mod survey;
mod turn;
mod undo;
mod waiting;

pub use advance::Advance;
pub use change::{Change, ChangeMade};
pub use claim::{Begun, Claimant, Claimed};
pub use execute::{Exchange, Exchanged, execute};
pub use flight::{Ending, Flight, Interest, Progress};
pub use identity::{Identity, IdentityError, PolicySpace};
pub use keeper::{Keeper, KeeperThread};
pub use late::LateSettlement;
pub use oncegate_store::Clock;
pub use operator::Intervention;
pub use permit::{Permit, Unsettled};
pub use pursue::Pursued;
pub use request::{Derived, Request};
pub use retention::RouteRetention;
pub use routes::{RouteEntry, RouteKeys, RouteTable};
pub use state::Ledger;
pub use turn::Turn;
pub use waiting::{WaitingPlace, WaitingRoom};

#[cfg(test)]
mod common_tests;
#[cfg(test)]
mod orphans_tests;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod spaces_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unclear_tests;
