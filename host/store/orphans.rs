//! What the last process on a store left executing, where the store has one process at a time.

use super::verbs::Version;
use oncegate_core::OperationId;

/// Operations that were executing when the last process ended. Nobody executes them any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The operations.
    pub ids: Vec<OperationId>,
    /// The first version of this process: what has an earlier one was written by a process that is gone.
    pub before: Version,
}
