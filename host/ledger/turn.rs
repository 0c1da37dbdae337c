//! The turn to ask about one operation.

use oncegate_core::{OperationId, PROBE_TURN, Record, Timestamp};
use oncegate_store::Version;
use std::sync::Arc;
use std::time::Duration;

/// The turn to ask about one operation.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The operation's id.
    pub id: OperationId,
    /// The operation's record, with the turn in it.
    pub record: Arc<Record>,
    pub(super) version: Version,
    /// When somebody else may have the turn.
    pub(super) until: Timestamp,
}

impl Turn {
    pub(super) fn new(id: OperationId, version: Version, record: Arc<Record>, now: Timestamp) -> Self {
        Self { id, record, version, until: now.plus(PROBE_TURN) }
    }

    /// How much of the turn is left at `now`.
    pub fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now)
    }
}
