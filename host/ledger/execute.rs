//! The order of an execution's steps, which every promise rests on. Others carry the request and the answer:
//! the gateway's connections, or a simulation's.

use super::claim::{Claimant, Claimed};
use super::permit::{Permit, Unsettled};
use oncegate_core::{Answer, Settlement};
use oncegate_store::Store;
use std::future::Future;
use std::sync::Arc;

/// One execution's dealings with its upstream and its client.
pub trait Exchange<S: Store>: Sized {
    /// The part of the answer that the client gets no sooner than the outcome is durable: its end.
    type End;

    /// The claim wasn't won: nothing may be sent.
    fn lost(self, claimed: Claimed<S>);

    /// Sends the request, asking [`Permit::holds`] right before its first byte, takes the answer in
    /// and judges it. All of the answer but its end may go to the client.
    fn run(self, permit: &Permit<S>) -> impl Future<Output = Exchanged<Self::End>>;

    /// Lets the end go: the outcome is durable.
    fn release(end: Self::End);

    /// Keeps the end back: the outcome isn't on the record.
    fn withhold(end: Self::End, why: Unsettled);
}

/// The result of an exchange.
#[derive(Debug)]
pub struct Exchanged<E> {
    /// How the execution ended, with what the policy leaves on the record.
    pub settlement: Settlement,
    /// The answer for those who waited, should the outcome be *not applied*.
    pub shared: Option<Arc<Answer>>,
    /// The end of the answer, which is held back.
    pub end: E,
}

/// Executes: claim (durable) → send → judge → settle (durable) → the end of the answer.
pub async fn execute<S: Store, X: Exchange<S>>(claimant: Claimant<S>, exchange: X) {
    let permit = match claimant.claim().await {
        Claimed::Won(permit) => permit,
        lost => return exchange.lost(lost),
    };
    let Exchanged { settlement, shared, end } = exchange.run(&permit).await;
    match permit.settle(settlement, shared).await {
        Ok(()) => X::release(end),
        Err(why) => X::withhold(end, why),
    }
}
