//! The thread on which a gateway's keeper runs. Nothing else runs there, so that no lease lapses while the main thread
//! looks at all records, lists them for an operator or compares configurations.

use super::Keeper;
use oncegate_store::Store;
use std::io;
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// A keeper on its thread. Dropped, the keeper ends soon.
#[derive(Debug)]
pub struct KeeperThread {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl KeeperThread {
    /// Starts the thread.
    pub fn start<S: Store>(keeper: Keeper<S>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (end, ended) = oneshot::channel();
        let thread = Builder::new().name("keeper".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = keeper.run() => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { end, thread })
    }

    /// Ends the keeper, and waits until it holds nothing of the ledger. That blocks.
    pub fn stop(self) {
        drop(self.end);
        // A panic of the thread is told already.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::requests::request;
    use crate::{Begun, Claimed, Clock, Ledger};
    use oncegate_core::{State, Timestamp};
    use oncegate_store::Memory;
    use oncegate_store::conformance::{completed, id, on_a_runtime, put};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// A third of it passes before it is renewed. A busy machine may take the rest.
    const LEASE: Duration = Duration::from_secs(6);

    fn kept() -> (Arc<Ledger<Memory>>, KeeperThread) {
        let (ledger, keeper) = Ledger::new(Memory::new(1 << 20), Clock::start(Timestamp::default()), None);
        (ledger, KeeperThread::start(keeper).unwrap())
    }

    /// Keeps this thread until that is so of the first record. No other task gets a turn on it meanwhile.
    async fn until(ledger: &Ledger<Memory>, holds: impl Fn(Option<&State>) -> bool) {
        let begun = Instant::now();
        loop {
            let found = ledger.store().load(id(1)).await.unwrap().value;
            if holds(found.as_ref().map(|found| &found.record.state)) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody keeps the ledger: {found:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn leases_are_renewed_while_the_main_thread_stands_still() {
        on_a_runtime(async {
            let (ledger, _keeper) = kept();
            let mut request = request(&ledger, id(1));
            request.claim.times.lease = LEASE;
            let Begun::Claim(claimant) = ledger.begin(request).await else { panic!("a free key") };
            let Claimed::Won(permit) = claimant.claim().await else { panic!("a free key") };
            let State::Executing { lease_until: first } = permit.record().state else { panic!("a claim") };
            let is_later = |lease_until| lease_until > first;
            until(
                &ledger,
                |state| matches!(state, Some(State::Executing { lease_until }) if is_later(*lease_until)),
            )
            .await;
            assert!(permit.holds());
        });
    }

    #[test]
    fn records_are_swept_while_the_main_thread_stands_still() {
        on_a_runtime(async {
            let (ledger, _keeper) = kept();
            // It is long forgotten.
            put(ledger.store(), id(1), None, Some(completed(1, 10))).await;
            until(&ledger, |state| state.is_none()).await;
        });
    }

    #[test]
    fn a_stopped_keeper_holds_nothing() {
        let (ledger, keeper) = kept();
        on_a_runtime(async {
            for n in 0..100 {
                put(ledger.store(), id(n), None, Some(completed(1, 10))).await;
            }
        });
        keeper.stop();
        assert_eq!(Arc::strong_count(&ledger), 1);
    }
}
