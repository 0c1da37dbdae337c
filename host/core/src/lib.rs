//! The life of an operation: ids, records and the one function that decides every transition.
//!
//! This crate does no I/O. It knows no HTTP library, no store, no clock, no lock and no async runtime: time,
//! versions and random ids are arguments. So tests drive it through every state and event, and the simulation
//! through every crash.
//!
//! - [`ids`]: the ids of operations, executions and principals, and how they are hashed from parts.
//! - [`time`]: ledger time as data.
//! - [`answer`]: an answer, as it is recorded and replayed.
//! - [`record`]: the record of an operation, and its meaning at a given time.
//! - [`outcome`]: the meaning of an attempt's end, and the join over attempts.
//! - [`decide()`]: (rules, record, event, now) → what to do.
//! - [`codec`]: records as bytes, with a format version in front.
//! - [`problem`]: the codes of the gateway's own answers.
//! - [`normal`]: the one normal form of a request's path and host.
//! - [`reach`]: which requests a route takes.
//! - [`durability`]: whether the end of an answer waits for the disk.
//! - [`keyspaces::list`]: the key spaces of each policy and the gateways that derive keys by them.
//! - [`keyspaces::claim`]: one claim of an operation under several keys.

pub mod answer;
pub mod codec;
pub mod decide;
pub mod durability;
pub mod ids;
pub mod keyspaces;
#[cfg(test)]
mod model;
pub mod normal;
pub mod outcome;
pub mod problem;
pub mod reach;
pub mod record;
pub mod time;

pub use answer::{Answer, AnswerSummary, allocated};
pub use decide::{
    Claim, Decision, Event, NO_RULES, PROBE_TURN, Probe, Refusal, Rules, Unchanged, WhenUnknown,
    WhileRunning, decide,
};
pub use durability::Durability;
pub use ids::{
    ExecutionId, Fingerprint, Framer, GatewayId, KeySpace, OperationId, PartKind, PrincipalId, Recipe,
    Secret, SpaceNumber,
};
pub use keyspaces::claim::{Ask, ClaimResult, MultiKeyClaim, NotWon, StoreReply};
pub use keyspaces::keys::{ClaimKeys, Key};
pub use keyspaces::list::KeySpaces;
pub use normal::PathRules;
pub use outcome::{AnswerStatus, Disposition, Outcome, Settlement, UnknownReason};
pub use reach::{Reach, host_of};
pub use record::{LostRecords, Origin, Pointer, Probing, Record, State, Times, View};
pub use time::Timestamp;
