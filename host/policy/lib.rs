//! Policies: the only room that names wasmtime.
//!
//! A [`Generation`] is one activation of a policy: a compiled component with its settings, its
//! plan and its limits. Workers call its hooks on instances of their own ([`InstancePool`]). What a
//! component hands out is checked against the rules in the comments of `policy.wit`; the
//! rest of the host sees only the types that are named here.
//!
//! | room | holds |
//! |---|---|
//! | `interface/` | the interface's types, their versions, rules, imports and failures |
//! | `view/` | what a policy sees of a request or an answer, and the parts of a key |
//! | `engine/` | what all policies share: compiled code, the epoch clock, policy threads, limits |
//! | `run/` | generations, and calls on their instances |
//! | `load/` | the pipeline from a configuration to a generation, and its self-test |
//! | `author/` | what `oncegate policy` asks of a component before it goes into service |

pub mod author;
mod engine;
mod interface;
mod load;
mod run;
pub mod view;

pub use engine::code_cache::CodeCache;
pub use engine::digest::hex;
pub use engine::shared::{Engine, EngineError};
pub use interface::failure::{Broken, Failure};
pub use interface::hooks::{Exports, Hook, HookCall, HookResult, Interface};
pub use interface::v0_1::{Attribute, Part, Shape};
pub use interface::{
    AnswerChanges, Finding, FingerprintRule, Found, FoundReply, Guard, Operation, Outbound, OwnedOperation,
    Payload, PayloadWant, Plan, PolicyRefusal, PolicySettlement, ProblemView, Receipt, Reply, RequestField,
    Verdict, Wording,
};
pub use load::inspect::Unfit;
pub use load::pipeline::{LoadError, LoadFault, component_bytes};
pub use load::promise::{Comparison, compare};
pub use load::recent::Recent;
pub use load::steps::{Step, Steps};
pub use load::vectors::VectorFault;
pub use load::{builtin, recent, sample, sample_answer};
pub use run::generation::{Generation, GenerationSummary, Generations};
pub use run::pool::InstancePool;
pub use view::{coding, document, parts};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
