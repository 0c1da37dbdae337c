//! The questions of a policy's author before the policy goes into service: its component's contents, its
//! verdict about one request, its promises, and the time that it takes.
//!
//! Every question goes through the pipeline and the limits of the gateway itself; nothing here knows
//! how a report is written.

mod anatomy;
mod checks;
mod desk;
mod engine_rules;
mod hooks;
mod json;
mod large;
mod purity;
mod report;
mod timing;
mod variants;
mod workbench;

pub use anatomy::{Anatomy, anatomy};
pub use engine_rules::takes;
pub use hooks::{HookInputs, HookOutcome, HookReport};
pub use report::{Check, PromiseReport};
pub use timing::{Spread, Timing, Unmeasured, measure};
pub use workbench::{DecideReport, Workbench};

#[cfg(test)]
mod tests;
