//! The ledger's housekeeping: renews leases of what runs here (`leases`), tries overdue settlements again
//! (`overdue`), and sweeps what is due, in small portions (`sweep`). Where nothing of that is there it sleeps.
//!
//! Each goes its own way, so that a store that is long about one call lets no lease lapse for it.

mod leases;
mod overdue;
mod sweep;
mod wall;

use super::state::{Ledger, Overdue};
use crate::store::{Clock, Store};
use leases::Leases;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Keeps a ledger in order for as long as [`run`](Self::run) is polled.
#[derive(Debug)]
pub struct Keeper<S: Store> {
    ledger: Arc<Ledger<S>>,
    settlements: mpsc::UnboundedReceiver<Overdue>,
}

impl<S: Store> Keeper<S> {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { ledger, settlements } = self;
        // Somebody claimed: there may be something to sweep.
        let claimed = Notify::new();
        tokio::join!(
            Leases::of(&ledger).keep(&claimed),
            ledger.settle_overdue(settlements),
            ledger.keep_swept(&claimed)
        );
    }
}

impl<S: Store> Ledger<S> {
    /// A ledger on `store`. `cache_bytes` is for final records at hand; `None` where the store is
    /// memory itself. Its keeper must be run for leases to be renewed: see [`Keeper`].
    pub fn new(store: S, clock: Clock, cache_bytes: Option<usize>) -> (Arc<Self>, Keeper<S>) {
        let mut process = [0; 8];
        getrandom::fill(&mut process).expect("the kernel's random source doesn't fail once it is seeded");
        Self::of_process(u64::from_le_bytes(process), store, clock, cache_bytes)
    }

    /// The same with a given first half of its execution ids, which no other ledger on the store may
    /// ever have had: a simulation's are not random.
    pub fn of_process(
        process: u64,
        store: S,
        clock: Clock,
        cache_bytes: Option<usize>,
    ) -> (Arc<Self>, Keeper<S>) {
        let (ledger, settlements) = Self::of(process, store, clock, cache_bytes);
        (ledger.clone(), Keeper { ledger, settlements })
    }
}
