//! From a configuration's policy to a generation: the pipeline, its steps, and the self-test.

pub mod builtin;
pub(crate) mod inspect;
pub(crate) mod pipeline;
pub(crate) mod promise;
pub(crate) mod purity;
pub mod recent;
pub mod sample;
pub mod sample_answer;
pub(crate) mod schema;
pub(crate) mod steps;
pub(crate) mod vectors;
