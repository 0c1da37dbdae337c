//! A request's way to an answer: the request begins until there is a result.

use super::claim::{Begun, Claimant, Claimed};
use super::request::Request;
use super::state::Ledger;
use oncegate_core::{Answer, Record, Refusal};
use oncegate_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// While another gateway executes, a waiter looks again after this time, then after twice that, and so on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The longest such time.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// The result of a request.
#[derive(Debug)]
pub enum Pursued<T> {
    /// The request was executed, and this is the report.
    Executed(T),
    /// Answer from this record.
    Replay {
        /// The record.
        record: Arc<Record>,
        /// The request waited for it.
        waited: bool,
    },
    /// The execution that the request waited for proved not to be applied; this was its answer.
    Shared(Arc<Answer>),
    /// Turn the request away. The record is the one that stands in the way, where there is one.
    Refuse(Refusal, Option<Arc<Record>>),
    /// The store failed.
    Unavailable(StoreError),
}

impl<S: Store> Ledger<S> {
    /// Begins an operation. If this gives the right to claim, `execute` gets it, and returns a report or the
    /// result of the lost claim. Where another gateway executes the operation, the request looks again until
    /// it has waited long enough.
    pub async fn pursue<T>(
        self: &Arc<Self>,
        request: impl Into<Arc<Request>>,
        execute: impl AsyncFn(Claimant<S>) -> Result<T, Claimed<S>>,
    ) -> Pursued<T> {
        let request = request.into();
        let deadline = Instant::now() + request.wait;
        let mut pause = LOOK_AGAIN;
        loop {
            let begun = match self.begin(request.clone()).await {
                Begun::Claim(claimant) => match execute(claimant).await {
                    Ok(report) => return Pursued::Executed(report),
                    Err(Claimed::Stands(begun)) => begun,
                    Err(Claimed::Elsewhere(id, version)) if Instant::now() < deadline => {
                        let Some(_place) = request.place() else {
                            return Pursued::Refuse(Refusal::InFlight, None);
                        };
                        // A store that is told of other gateways' writes ends the wait earlier.
                        let _ = timeout(pause, self.store.changed(id, version)).await;
                        pause = (pause * 2).min(LOOK_AGAIN_MAX);
                        continue;
                    }
                    Err(_) => Begun::Refuse(Refusal::InFlight, None),
                },
                begun => begun,
            };
            return match begun {
                Begun::Replay { record, waited } => Pursued::Replay { record, waited },
                Begun::Shared(answer) => Pursued::Shared(answer),
                Begun::Refuse(refusal, record) => Pursued::Refuse(refusal, record),
                Begun::Unavailable(error) => Pursued::Unavailable(error),
                // A right to claim that came back unused: begin again.
                Begun::Claim(_) => continue,
            };
        }
    }
}
