//! What the author of a policy asks before it goes into service: what is in a component, what it
//! says to one request, whether it keeps its promises, how long it takes.
//!
//! All of it goes through the pipeline and the limits of the gateway itself; nothing here knows
//! how a report is written.

mod anatomy;
mod checks;
mod desk;
mod hooks;
mod json;
mod purity;
mod report;
mod timing;
mod variants;
mod workbench;

pub use anatomy::{Anatomy, anatomy};
pub use hooks::{HookInputs, HookOutcome, HookReport};
pub use report::{Check, PromiseReport};
pub use timing::{Spread, Timing, Unmeasured, measure};
pub use workbench::{DecideReport, Workbench};

#[cfg(test)]
mod tests;
