//! Key spaces: by which generations a policy's keys are derived, and where what made keys is kept.

mod active;
mod archive;
mod resolver;

pub use active::{ActiveSpaces, OlderGeneration, SpaceGuard, SpaceTable, Unavailable};
pub use archive::{Archive, deriver};
pub use resolver::{ResolveError, Resolved, SpaceResolver, is_up_to_date, refusal};
