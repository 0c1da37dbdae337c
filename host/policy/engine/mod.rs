//! The parts that all policies and workers of a process share.

pub(crate) mod code_cache;
pub(crate) mod compiled;
pub(crate) mod deadline;
pub(crate) mod digest;
pub(crate) mod epoch_clock;
pub(crate) mod join;
pub(crate) mod limits;
pub(crate) mod processor;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod threads;
