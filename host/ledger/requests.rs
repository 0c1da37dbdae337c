//! Requests for tests.

use super::request::{Derived, Request};
use super::state::Ledger;
use oncegate_core::{Claim, OperationId, Rules, Timestamp, WhenUnknown, WhileRunning};
use oncegate_store::Store;
use oncegate_store::conformance::executing;
use std::time::Duration;

/// A request that comes now for the operation under this key, on a route that holds unknown outcomes. It waits
/// for nothing.
pub fn request<S: Store>(ledger: &Ledger<S>, id: OperationId) -> Request {
    let like = executing(0);
    let now = ledger.clock().now();
    Request {
        id,
        claim: Claim {
            fingerprint: like.fingerprint,
            execution: ledger.execution_id(),
            times: like.times,
            origin: like.origin.clone(),
            memo: None,
            clock: now,
            remembered_since: Timestamp::default(),
            came: now,
        },
        rules: Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold },
        wait: Duration::ZERO,
        waiting_room: None,
        derived: Derived::default(),
    }
}
