//! Everything that is sent upstream: guarded executions, unguarded requests and probes.
//!
//! An execution goes through `execute` → `stream` (with `capture`) → `judge`, in the order of
//! [`ledger::execute`](oncegate_ledger::execute()).

pub mod abandon;
mod capture;
pub mod execute;
pub mod generations;
mod judge;
pub mod no_answer;
mod outgoing;
pub mod pass;
pub mod probe;
pub mod report;
pub mod rpc;
mod stream;
pub mod task;
mod tunnel;
