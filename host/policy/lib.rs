//! Policies: the only room that names wasmtime.
//!
//! A [`Generation`] is one activation of a policy: a compiled component with its settings, its
//! plan and its limits. Workers call its hooks on instances of their own ([`InstancePool`]). The results
//! of a component are checked against the rules in the comments of `policy.wit`. The rest of the host sees
//! only the types that are named here.
//!
//! | room | holds |
//! |---|---|
//! | `interface/` | the interface's types, their versions, rules, imports and failures |
//! | `view/` | the parts of a request or an answer that a policy sees, and the parts of a key |
//! | `engine/` | the parts that all policies share: compiled code, the epoch clock, policy threads, limits |
//! | `run/` | generations, and calls on their instances |
//! | `load/` | the pipeline from a configuration to a generation, and its self-test |
//! | `author/` | the questions of `oncegate policy` about a component before it goes into service |

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
pub use run::trial::Caller;
pub use view::{coding, document, parts};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod purity_tests;
#[cfg(test)]
mod tests;
