//! Generations of policies, and calls of their hooks on instances.

pub(crate) mod budget;
pub(crate) mod generation;
pub(crate) mod instance;
pub(crate) mod instance_cache;
pub(crate) mod pool;
pub(crate) mod slow_policy;
pub(crate) mod trial;
