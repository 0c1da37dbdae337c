//! Key spaces: which generations derive the keys of a policy, and how that changes while requests flow
//! (`design/key-changes.md`).
//!
//! - `registry`, `lease`: the lists in the store, this gateway's membership and its lease.
//! - `leaving`, `searches`, `pointers`, `guarded`, `pins`: the blockers of a space that is to leave.
//! - `active`: the spaces by which keys are derived now, and the users that decide by them.
//! - `loader`, `resolver`: which generation derives the keys of each space.
//! - `tend`: keeps the gateway's place on the lists up to date.
//!
//! This room knows no policy, no HTTP and no ledger. The caller defines a generation and how it is loaded, so
//! that the simulation runs the whole room with generations of its own.

mod active;
mod guarded;
mod lease;
mod leaving;
mod loader;
mod pins;
pub mod pointers;
mod registry;
mod resolver;
mod searches;
mod tend;

pub use active::{ActiveSpaces, OlderGeneration, SpaceGuard, SpaceGuards, SpaceTable, Unavailable};
pub use guarded::lapsed;
pub use loader::{GenerationTable, Loaded, Loader};
pub use pins::SpacePin;
pub use registry::{Entered, LIST_LEASE, Numbers, SpaceRegistry, SpacesError};
pub use resolver::{InForce, ResolveError, Resolved, SpaceResolver, by_id, refusal};
pub use tend::{Deriving, RetryMissing, TendError, TendTimes, Tended, tend, tend_once};
