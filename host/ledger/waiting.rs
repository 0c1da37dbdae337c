//! Room for requests that wait for an execution. The ledger asks for it, and does not know who has it.

use std::any::Any;
use std::fmt::Debug;

/// A place of a waiting request, for as long as it lives.
pub type WaitingPlace = Box<dyn Any + Send>;

/// Who has room for requests that wait.
pub trait WaitingRoom: Debug + Send + Sync {
    /// A place, asked for right before a request begins to wait. None: there is no room.
    fn enter(&self) -> Option<WaitingPlace>;
}
