//! The ledger's housekeeping: renews leases of executions in this process (`leases`), tries overdue
//! settlements again (`overdue`), undoes changes that broke off in doubt (`undo`), records what the last process
//! left executing as unknown (`orphans`), and sweeps due records, in small portions (`sweep`). Without any of
//! these the keeper sleeps.
//!
//! Each task runs on its own, so that a slow call of the store lets no lease lapse.

mod leases;
mod orphans;
mod overdue;
mod sweep;
mod thread;
mod wall;

use super::state::{Ledger, Overdue};
use leases::Leases;
use oncegate_core::OperationId;
use oncegate_store::{Clock, Orphans, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

pub use thread::KeeperThread;

/// The first wait before what the store did not take is tried again; each further wait is twice as long.
const RETRY: Duration = Duration::from_millis(25);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Keeps a ledger in order for as long as [`run`](Self::run) is polled.
#[derive(Debug)]
pub struct Keeper<S: Store> {
    ledger: Arc<Ledger<S>>,
    settlements: mpsc::UnboundedReceiver<Overdue>,
    orphans: Vec<OperationId>,
}

impl<S: Store> Keeper<S> {
    /// Runs until the future is dropped.
    pub async fn run(self) {
        let Self { ledger, settlements, orphans } = self;
        // A request claimed: there may be records to sweep.
        let claimed = Notify::new();
        tokio::join!(
            Leases::of(&ledger).keep(&claimed),
            async {
                // Neither ends. The first is polled first, so that a simulated run repeats itself.
                tokio::select! {
                    biased;
                    () = ledger.settle_overdue(settlements) => {}
                    () = ledger.undo_changes() => {}
                }
            },
            ledger.recover(orphans),
            ledger.keep_swept(&claimed)
        );
    }
}

impl<S: Store> Ledger<S> {
    /// A ledger on `store`. `cache_bytes` is for final records at hand; `None` where the store is memory
    /// itself. The ledger's keeper must be run for leases to be renewed: see [`Keeper`].
    pub fn new(store: S, clock: Clock, cache_bytes: Option<usize>) -> (Arc<Self>, Keeper<S>) {
        Self::opened(store, clock, cache_bytes, Orphans::default())
    }

    /// The same on a store that no other process has, with what the last one left executing.
    pub fn opened(
        store: S,
        clock: Clock,
        cache_bytes: Option<usize>,
        orphans: Orphans,
    ) -> (Arc<Self>, Keeper<S>) {
        let mut process = [0; 8];
        getrandom::fill(&mut process).expect("the kernel's random source doesn't fail once it is seeded");
        Self::of_process(u64::from_le_bytes(process), store, clock, cache_bytes, orphans)
    }

    /// The same with a given first half of its execution ids, which no other ledger on the store may ever
    /// have had. A simulation's ids are not random.
    pub fn of_process(
        process: u64,
        store: S,
        clock: Clock,
        cache_bytes: Option<usize>,
        orphans: Orphans,
    ) -> (Arc<Self>, Keeper<S>) {
        let (ledger, settlements) = Self::of(process, store, clock, cache_bytes, orphans.before);
        (ledger.clone(), Keeper { ledger, settlements, orphans: orphans.ids })
    }
}
