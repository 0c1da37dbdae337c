//! The life of an operation: ids, records and the one function that decides every transition.
//!
//! This crate does no I/O. It knows no HTTP library, no store, no clock, no lock and no async
//! runtime: time, versions and random ids are arguments. So a test can drive it through every
//! state and event, and a simulation through every crash.
//!
//! - [`id`]: what names an operation, an execution, a principal, and how key parts are framed.
//! - [`time`]: ledger time as data.
//! - [`record`]: what the ledger keeps of an operation, and how it looks at a given time.
//! - [`outcome`]: what an attempt's end means, and the join over attempts.
//! - [`decide()`]: (rules, record, event, now) → what to do.
//! - [`codec`]: records as bytes, with a format version in front.
//! - [`problem`]: the codes of the gateway's own answers.
//! - [`keyspace_list`]: the key spaces of each policy and the gateways that derive keys by them.
//! - [`keyspace_claim`]: one claim under several keys at once, and what it meets there.

pub mod codec;
pub mod decide;
pub mod id;
pub mod keyspace_claim;
mod keyspace_codec;
pub mod keyspace_list;
pub mod outcome;
pub mod problem;
pub mod record;
pub mod time;

pub use decide::{
    Claim, Decision, Event, PROBE_TURN, Probe, Refusal, Rules, Unchanged, WhenUnknown, WhileRunning, decide,
};
pub use id::{
    ExecutionId, Fingerprint, Framer, KeySpace, OperationId, PartKind, PrincipalId, Recipe, Secret,
};
pub use keyspace_claim::{Ask, End, Key, Keyed, Reply, Told, Walk};
pub use keyspace_list::{GatewayId, KeySpaces, SpaceNumber};
pub use outcome::{Disposition, Doubt, Outcome, Settlement};
pub use record::{Answer, First, Origin, Pointer, Probing, Record, State, Times, View};
pub use time::Timestamp;
