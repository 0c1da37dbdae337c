//! What is sent upstream: guarded executions, unguarded requests and probes.

pub mod abandon;
pub mod capture;
pub mod deciders;
pub mod exchange;
pub mod execute;
pub mod judge;
pub mod no_answer;
pub mod pass;
pub mod probe;
pub mod rpc;
