//! Client connections: listeners, worker threads, hyper's server, and the bounds on connections in number
//! and time (`design/edge.md`). The edge knows no policy, ledger or route: an [`EdgeService`] answers.

#![doc = include_str!("../../design/edge.md")]

mod activity;
mod budget;
mod connection;
mod follow;
mod heart;
mod listener;
mod open;
mod peer;
mod places;
mod service;
mod state;
mod workers;

pub use activity::ClientConnection;
pub use budget::{Direction, PeerAccount, Reservation};
pub use follow::HeadFault;
pub use listener::{BindError, Listeners};
#[cfg(test)]
pub use peer::Scheme;
pub use peer::{Peer, Protocol};
pub use service::{After, Answered, EdgeService};
pub use state::{Counted, EdgeState};
pub use workers::{Orders, WorkerThreads};
