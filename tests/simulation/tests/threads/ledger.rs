//! The ledger on a store in memory. The gateway's part, `execute`, is played by the test.

use crate::story::{Story, answer, answer_of};
use crate::{HOLD, LONG, START, claim, draw, keys, play};
use bytes::Bytes;
use oncegate_core::{OperationId, Outcome, Timestamp};
use oncegate_ledger::{Claimant, Claimed, Clock, Derived, Intervention, Ledger, Request};
use oncegate_store::{AnyStore, Kinds, Memory, Orphans, Size, Store, Swap};
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use shuttled_tokio::task::yield_now;
use shuttled_tokio::time;
use std::sync::Arc;
use std::time::Duration;

type OnMemory = Arc<Ledger<AnyStore>>;

/// Two keys, gateways on one store, and what is known of the operations.
#[derive(Clone)]
struct Bed {
    memory: Arc<Memory>,
    gateways: Arc<[OnMemory]>,
    keys: [OperationId; 2],
    stories: Arc<[Story; 2]>,
    lease: Duration,
    /// Time passes, at any moment.
    slow: bool,
}

impl Bed {
    /// Gateways with their keepers. `cache`: each keeps final records at hand, as on a store that isn't memory.
    fn of(gateways: u64, cache: bool, slow: bool) -> (Self, Vec<JoinHandle<()>>) {
        let memory = Arc::new(Memory::new(1 << 20));
        let (ledgers, keepers): (Vec<_>, Vec<_>) = (1..=gateways)
            .map(|process| {
                let clock = Clock::following(START, time::elapsed);
                let store = AnyStore::Memory(memory.clone());
                Ledger::of_process(process, store, clock, cache.then_some(1 << 16), Orphans::default())
            })
            .unzip();
        let keepers = keepers.into_iter().map(|keeper| spawn(keeper.run())).collect();
        let lease = if slow { Duration::from_secs(3) } else { LONG };
        let gateways = ledgers.into();
        (Self { memory, gateways, keys: keys(), stories: Arc::default(), lease, slow }, keepers)
    }

    fn gateway(&self, thread: usize) -> &OnMemory {
        &self.gateways[thread % self.gateways.len()]
    }

    /// A request for this key, whose client waits for the answer.
    async fn ask(&self, thread: usize, n: usize) {
        let (ledger, story) = (self.gateway(thread), &self.stories[n]);
        let never_again = story.begins();
        let request = Request {
            id: self.keys[n],
            claim: claim(ledger.execution_id(), self.lease, ledger.clock().now()),
            rules: HOLD,
            wait: if self.slow { Duration::from_secs(10) } else { LONG },
            waiting_room: None,
            derived: Derived::default(),
        };
        let result = ledger.pursue(request, async |claimant| self.execute(claimant, n).await).await;
        story.tells(&result, &never_again, self.slow);
    }

    async fn execute(&self, claimant: Claimant<AnyStore>, n: usize) -> Result<(), Claimed<AnyStore>> {
        let story = &self.stories[n];
        let _interest = claimant.interest();
        let permit = match claimant.claim().await {
            Claimed::Won(permit) => permit,
            lost => return Err(lost),
        };
        if !permit.holds() {
            assert!(self.slow, "a lease ended though no time passed");
            let _ = permit.settle(Outcome::NotApplied, None).await;
            return Ok(());
        }
        story.sends();
        yield_now().await;
        let body = Bytes::copy_from_slice(&permit.record().execution.0);
        let answer = Arc::new(answer_of(&body));
        let settled = match draw(4) {
            0 => {
                story.is_given_up();
                return Ok(());
            }
            1 => {
                let shared = (draw(2) == 0).then_some(answer);
                story.proves_not_applied(shared.as_ref().map(|_| &body));
                permit.settle(Outcome::NotApplied, shared).await
            }
            _ => {
                story.completes(&body);
                permit.settle(Outcome::Completed(answer), None).await
            }
        };
        if let Err(why) = settled {
            assert!(self.slow, "{why}");
            story.settles_too_late();
        }
        Ok(())
    }

    /// An operator has the first key's operation forgotten, as often as it finds it finished.
    async fn forget(&self) {
        let (ledger, story) = (self.gateway(0), &self.stories[0]);
        for _ in 0..3 {
            let shown = ledger.load(self.keys[0]).await.unwrap();
            let Some((shown, answer)) = shown.and_then(|shown| Some((shown.version, answer(&shown.record)?)))
            else {
                yield_now().await;
                continue;
            };
            if let Intervention::Done(None) = ledger.forget(self.keys[0], shown).await.unwrap() {
                story.forgot(answer);
                self.ask(0, 0).await;
            }
        }
    }

    /// When all requests have ended: nothing is left over, and what is on the record is what was told.
    async fn end(&self, keepers: Vec<JoinHandle<()>>) {
        for ledger in &*self.gateways {
            // The keeper settles what was given up.
            while ledger.settlements_overdue() > 0 || ledger.executing() > 0 {
                yield_now().await;
            }
        }
        keepers.iter().for_each(JoinHandle::abort);
        for (id, story) in self.keys.into_iter().zip(&*self.stories) {
            let standing = self.memory.load(id).await.unwrap().value;
            story.stands(standing.as_ref().map(|standing| &*standing.record));
            if let Some(standing) = standing.filter(|_| !self.slow) {
                let gone = self.memory.swap(id, Some(standing.version), None, Timestamp::MAX).await;
                assert!(matches!(gone.unwrap().value, Swap::Done(_)));
            }
        }
        if self.slow {
            // All memories end, and what ended is swept.
            time::sleep(LONG * 5).await;
            while self.gateways[0].sweep(9).await.unwrap() > 0 {}
        }
        let Size { records, bytes, kinds, .. } = self.memory.size();
        assert_eq!((records, bytes, kinds), (0, 0, Kinds::default()));
    }
}

/// Three threads ask for both keys, one of them in the other order.
fn three_threads_ask(bed: &Bed) {
    let threads = [0, 1, 2].map(|thread| {
        let bed = bed.clone();
        thread::spawn(move || {
            block_on(async {
                let first = usize::from(thread == 2);
                bed.ask(thread, first).await;
                bed.ask(thread, 1 - first).await;
            });
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Time stands still. So a wait ends only because somebody is woken; where nobody is, shuttle finds a deadlock.
fn while_time_stands_still(gateways: u64, cache: bool) {
    let (bed, keepers) = Bed::of(gateways, cache, false);
    three_threads_ask(&bed);
    block_on(bed.end(keepers));
}

/// Another thread moves time on to the next end of a wait, again and again: leases are renewed or lapse, clients and
/// keepers wait in vain, sweeps run.
fn while_time_passes(gateways: u64) {
    let (bed, keepers) = Bed::of(gateways, false, true);
    let over = Arc::new(AtomicBool::new(false));
    let clock = {
        let over = over.clone();
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                time::advance();
                thread::yield_now();
            }
        })
    };
    three_threads_ask(&bed);
    block_on(bed.end(keepers));
    over.store(true, Ordering::SeqCst);
    clock.join().unwrap();
}

#[test]
fn one_of_three_threads_executes_and_all_are_answered() {
    play(24_000, || while_time_stands_still(1, false));
}

#[test]
fn threads_of_two_gateways_wake_each_other() {
    play(24_000, || while_time_stands_still(2, false));
}

#[test]
fn leases_lapse_and_are_renewed_at_any_moment() {
    play(8_000, || while_time_passes(1 + u64::from(draw(2))));
}

#[test]
fn what_is_forgotten_stays_so_while_threads_read() {
    play(24_000, || {
        let (bed, keepers) = Bed::of(1, true, false);
        bed.stories[0].is_forgotten();
        let operator = {
            let bed = bed.clone();
            thread::spawn(move || block_on(bed.forget()))
        };
        three_threads_ask(&bed);
        operator.join().unwrap();
        block_on(bed.end(keepers));
    });
}
