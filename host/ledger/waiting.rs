//! Room for requests that wait for an execution. The ledger asks for a place, and does not know who has the
//! room.

use std::any::Any;
use std::fmt::Debug;

/// A place of a waiting request, for as long as this value lives.
pub type WaitingPlace = Box<dyn Any + Send>;

/// A room for requests that wait.
pub trait WaitingRoom: Debug + Send + Sync {
    /// A place, asked for right before a request begins to wait. `None`: there is no room.
    fn enter(&self) -> Option<WaitingPlace>;
}
