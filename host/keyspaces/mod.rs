//! Key spaces: who derives the keys of a policy by what, and how that changes while requests flow
//! (`design/key-changes.md`).
//!
//! - `registry`, `lease`: the lists in the store, this gateway's membership and its lease.
//! - `leaving`, `searches`, `pointers`, `guarded`, `pins`: what a space on a list waits for before it leaves.
//! - `active`: the spaces by which keys are derived now, and who decides by them.
//! - `loader`, `resolver`: which generation derives the keys of each space.
//! - `tend`: keeps all that up to date.
//!
//! This room knows no policy, no HTTP and no ledger. What a generation is and how it is loaded is the caller's, so
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
