//! Waiting for an execution that runs in this process.

use super::claim::Begun;
use super::flight::{Ending, Flight, Interest, Progress};
use super::request::Request;
use super::state::Ledger;
use oncegate_core::{Record, Refusal, State, Timestamp, View};
use oncegate_store::Store;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A request that came to an execution under way.
#[derive(Clone, Copy)]
struct Joining {
    /// When the request came.
    at: Timestamp,
    /// The outcome was on its way to the store by then, so that the key may have been free already.
    while_settling: bool,
}

impl<S: Store> Ledger<S> {
    /// Waits for an execution of this process, as far as the rules say. `None`: begin again. `begun`: when
    /// the request first asked to begin.
    pub(super) async fn follow(
        &self,
        request: &Request,
        flight: &Arc<Flight>,
        begun: Timestamp,
        deadline: Instant,
    ) -> Option<Begun<S>> {
        let _interest = Interest::new(flight);
        let joining = Joining { at: begun, while_settling: flight.settles() };
        let mut place = None;
        loop {
            let changed = flight.changed();
            // The progress is read before the key: the flight sets the key before it sets the progress.
            let progress = flight.progress();
            let Some(request) = request.at(flight) else {
                // The operation is resent under a key to which pointers led, and this request has no key to
                // judge that record by. The request's caller asks again.
                if let Some(_place) = request.place() {
                    let _ = timeout_at(deadline, flight.over()).await;
                }
                return Some(Begun::Refuse(Refusal::InFlight, None));
            };
            let request = &*request;
            match progress {
                Progress::Ended(ending) => return self.after(request, flight, ending, joining),
                Progress::Running(record) => match self.meanwhile(request, &record).await {
                    Some(begun) => return Some(begun),
                    None if Instant::now() >= deadline => {
                        return Some(Begun::Refuse(Refusal::InFlight, Some(record)));
                    }
                    None => {}
                },
                Progress::Claiming => {}
            }
            place = place.or_else(|| request.place());
            if place.is_none() {
                return Some(self.without_a_place(request, flight).await);
            }
            if timeout_at(deadline, changed).await.is_err() && matches!(flight.progress(), Progress::Claiming)
            {
                return Some(Begun::Refuse(Refusal::InFlight, None));
            }
        }
    }

    /// The result for a request for which there is no room to wait. A flight that has no claim yet may be about
    /// to find a record, which answers without waiting.
    async fn without_a_place(&self, request: &Request, flight: &Flight) -> Begun<S> {
        let running = flight.running();
        let standing = match running {
            Some(_) => None,
            None => self.standing(request).await,
        };
        standing.unwrap_or(Begun::Refuse(Refusal::InFlight, running))
    }

    /// The answer to a waiter when the execution has ended. `None`: begin again.
    fn after(
        &self,
        request: &Request,
        flight: &Flight,
        ending: Ending,
        joining: Joining,
    ) -> Option<Begun<S>> {
        match ending {
            // A record that still executes is another execution's.
            Ending::Recorded(record) if matches!(record.state, State::Executing { .. }) => None,
            // Whoever came while the answer was on its way may have come after it was recorded, and forgotten.
            Ending::Recorded(record)
                if joining.while_settling
                    && matches!(record.state, State::Completed { .. } | State::Consumed { .. }) =>
            {
                None
            }
            Ending::Recorded(record) => {
                let begun = self.answer(request, &record, self.clock().now())?;
                Some(self.while_listed(request, begun.waited()))
            }
            // A record that was read before the request came may be stale by now.
            Ending::Found(_, asked) if asked <= joining.at => None,
            Ending::Found(record, asked) => {
                let begun = self.answer(request, &record, asked)?;
                Some(self.while_listed(request, begun.waited()))
            }
            // The key is free again. A request with another fingerprint gets nobody else's answer. If the key
            // could be free when this request came, another gateway may have used it since.
            Ending::NotApplied(_) if joining.while_settling || !flight.is_of(&request.claim.fingerprint) => {
                None
            }
            Ending::NotApplied(Some(answer)) => Some(Begun::Shared(answer)),
            Ending::NotApplied(None) => Some(Begun::Refuse(Refusal::InFlight, None)),
            Ending::Failed(error) => Some(Begun::Unavailable(error)),
            Ending::Lost => None,
        }
    }

    /// The answer during an execution of this process, if there is one that ends the waiting.
    async fn meanwhile(&self, request: &Request, record: &Arc<Record>) -> Option<Begun<S>> {
        let now = self.clock().now();
        if record.view(now) == View::Executing {
            let begun = self.answer(request, record, now)?;
            return Some(self.while_listed(request, begun));
        }
        // The lease lapsed, so another gateway may have gone on without us: the store's record counts.
        let standing = self.store.load(request.id).await.ok()??;
        let begun = self.answer(request, &standing.record, now)?;
        (self.is_whole(request) || matches!(begun, Begun::Replay { .. })).then_some(begun)
    }

    /// The result from a record, for a waiter whose lease on the list has held since its keys were derived.
    /// Without that lease, the claim here may stand under a key that nobody claims by any more. Then only an
    /// answer tells the operation's outcome, and the waiter's caller asks again.
    fn while_listed(&self, request: &Request, begun: Begun<S>) -> Begun<S> {
        match matches!(begun, Begun::Replay { .. }) || self.spaces.holds_since(request.derived.term) {
            true => begun,
            false => Begun::Refuse(Refusal::InFlight, None),
        }
    }
}
