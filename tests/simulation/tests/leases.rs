//! A store that is long about one call: leases are renewed all the same, so that nothing becomes unknown
//! whose outcome is known, or will be. On a clock that stands still but for waiting.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::origin;
use oncegate_core::{
    AnswerSummary, Claim, ExecutionId, Fingerprint, LostRecords, OperationId, Outcome, Recipe, Record, Rules,
    State, Times, Timestamp, UnknownReason, View, WhenUnknown, WhileRunning,
};
use oncegate_ledger::{Begun, Claimed, Clock, Derived, Identity, IdentityError, Ledger, Permit, Request};
use oncegate_store::{Memory, Said, ScanScope, Scanned, Size, Store, StoreError, Swap, Version, Versioned};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// An execution takes several of these.
const LEASE: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(20);
const RETENTION: Duration = Duration::from_secs(3_600);
/// The time between two pages of a look at all records.
const PAGE: Duration = Duration::from_millis(10);

/// What of the store doesn't come back as long as this is so, or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Looks for what is due hang.
    Sweeps,
    /// Writes of outcomes hang, and those of claims and renewals don't.
    Settlements,
    /// Writes of outcomes are refused.
    Refuses,
    /// Everything that is done to this record hangs.
    Of(OperationId),
}

/// A store in memory that gets into trouble.
#[derive(Clone)]
struct Troubled {
    inner: Arc<Memory>,
    trouble: watch::Sender<Trouble>,
}

impl Troubled {
    async fn over(&self, trouble: Trouble) {
        self.trouble.subscribe().wait_for(|now| *now != trouble).await.unwrap();
    }
}

impl Store for Troubled {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        self.inner.load(id).await
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        self.over(Trouble::Of(id)).await;
        let settles = !next.as_ref().is_some_and(|next| matches!(next.state, State::Executing { .. }));
        if settles {
            self.over(Trouble::Settlements).await;
        }
        if settles && *self.trouble.borrow() == Trouble::Refuses {
            return Err(StoreError::Unavailable("it says no".into()));
        }
        self.inner.swap(id, expected, next, now).await
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        self.over(Trouble::Sweeps).await;
        self.inner.due(until, limit).await
    }

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        sleep(PAGE).await;
        self.inner.scan(of, after, limit).await
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        self.inner.load_meta(name).await
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        self.inner.swap_meta(name, expected, next).await
    }

    fn size(&self) -> Size {
        self.inner.size()
    }
}

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

struct Bed {
    ledger: Arc<Ledger<Troubled>>,
}

/// Runs a scene on a ledger whose keeper runs.
fn run<F: Future>(scene: impl FnOnce(Bed) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        BEGUN.set(Some(Instant::now()));
        let elapsed = || BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed());
        let store =
            Troubled { inner: Arc::new(Memory::new(1 << 40)), trouble: watch::Sender::new(Trouble::None) };
        let clock = Clock::following(Timestamp::from_secs(1_800_000_000), elapsed);
        let (ledger, keeper) = Ledger::new(store, clock, None);
        tokio::spawn(keeper.run());
        scene(Bed { ledger }).await;
    });
}

fn id(n: u8) -> OperationId {
    OperationId([n; 32])
}

fn completed() -> Outcome {
    Outcome::Completed(Arc::default())
}

impl Bed {
    fn gets_into(&self, trouble: Trouble) {
        self.ledger.store().trouble.send_replace(trouble);
    }

    fn request(&self, n: u8) -> Request {
        Request {
            id: id(n),
            claim: Claim {
                fingerprint: Fingerprint { recipe: Recipe::Request, hash: [n; 32] },
                execution: self.ledger.execution_id(),
                times: Times {
                    lease: LEASE,
                    retention: RETENTION,
                    tombstone: RETENTION,
                    unknown_retention: RETENTION,
                    memory: RETENTION * 2,
                },
                origin: origin(),
                memo: None,
                clock: self.ledger.clock().now(),
                remembered_since: Timestamp::default(),
                came: self.ledger.clock().now(),
            },
            rules: Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold },
            wait: Duration::ZERO,
            waiting_room: None,
            derived: Derived::default(),
        }
    }

    async fn executes(&self, n: u8) -> Permit<Troubled> {
        self.executes_by(self.request(n)).await
    }

    async fn executes_by(&self, request: Request) -> Permit<Troubled> {
        let Begun::Claim(claimant) = self.ledger.begin(request).await else { panic!("a free key") };
        let Claimed::Won(permit) = claimant.claim().await else { panic!("a free key") };
        permit
    }

    /// As what another gateway on this store would see the record.
    async fn seen(&self, n: u8) -> View {
        let standing = self.ledger.store().inner.load(id(n)).await.unwrap().value;
        standing.map_or(View::Absent, |standing| standing.record.view(self.ledger.clock().now()))
    }

    /// For many leases the record says that it is executed.
    async fn is_executing_for_long(&self, n: u8) {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            sleep(LEASE / 3).await;
            assert_eq!(self.seen(n).await, View::Executing, "after {:?}", BEGUN.get().unwrap().elapsed());
        }
    }
}

#[test]
fn a_sweep_that_hangs_holds_up_no_renewal() {
    run(async |bed| {
        bed.gets_into(Trouble::Sweeps);
        let permit = bed.executes(1).await;
        bed.is_executing_for_long(1).await;
        assert!(permit.holds());
        permit.settle(completed(), None).await.unwrap();
        assert_eq!(bed.seen(1).await, View::Completed);
    });
}

#[test]
fn a_settlement_that_hangs_holds_up_no_renewal() {
    run(async |bed| {
        let (other, long) = (bed.executes(1).await, bed.executes(2).await);
        bed.gets_into(Trouble::Refuses);
        other.settle(completed(), None).await.unwrap_err();
        // It is tried again, and that doesn't come back.
        bed.gets_into(Trouble::Settlements);
        bed.is_executing_for_long(2).await;
        assert!(long.holds());
        bed.gets_into(Trouble::None);
        long.settle(completed(), None).await.unwrap();
        assert_eq!(bed.seen(2).await, View::Completed);
    });
}

#[test]
fn a_renewal_that_hangs_holds_up_no_other() {
    run(async |bed| {
        let (_stuck, long) = (bed.executes(1).await, bed.executes(2).await);
        bed.gets_into(Trouble::Of(id(1)));
        bed.is_executing_for_long(2).await;
        assert!(long.holds());
        assert_eq!(bed.seen(1).await, View::Unknown, "nobody renewed it");
    });
}

/// It used to end with its lease, so that other gateways called an answer unknown that only waited for the
/// store, and could send the operation again where their route says so.
#[test]
fn what_waits_for_the_store_to_take_its_outcome_is_renewed_until_it_does() {
    for trouble in [Trouble::Refuses, Trouble::Settlements] {
        run(async |bed| {
            bed.gets_into(Trouble::Refuses);
            bed.executes(1).await.settle(completed(), None).await.unwrap_err();
            bed.gets_into(trouble);
            bed.is_executing_for_long(1).await;
            bed.gets_into(Trouble::None);
            while bed.ledger.settlements_overdue() > 0 {
                sleep(LEASE / 100).await;
            }
            assert_eq!(bed.seen(1).await, View::Completed, "{trouble:?}");
            assert_eq!(bed.ledger.late_settlements(id(1)), []);
        });
    }
}

/// The same of one whose execution ended without an outcome, as at the end of a drain.
#[test]
fn what_is_given_up_is_renewed_until_the_store_takes_that_it_is_unknown() {
    run(async |bed| {
        let permit = bed.executes(1).await;
        bed.gets_into(Trouble::Settlements);
        drop(permit);
        bed.is_executing_for_long(1).await;
        bed.gets_into(Trouble::None);
        sleep(LEASE).await;
        let standing = bed.ledger.load(id(1)).await.unwrap().unwrap();
        let State::Unknown { reason, .. } = standing.record.state else { panic!("{standing:?}") };
        assert_eq!((reason, bed.ledger.settlements_overdue()), (UnknownReason::Abandoned, 0));
    });
}

/// With nothing to sweep the sweep sleeps long: whoever claims wakes it.
#[test]
fn the_first_record_is_swept_as_soon_as_it_is_due() {
    run(async |bed| {
        sleep(LONG).await;
        let mut request = bed.request(1);
        request.claim.times.retention = LEASE;
        bed.executes_by(request).await.settle(completed(), None).await.unwrap();
        sleep(LEASE + Duration::from_secs(2)).await;
        let swept = bed.ledger.load(id(1)).await.unwrap().unwrap().record;
        assert!(
            matches!(swept.state, State::Consumed { .. }),
            "its answer went with its retention: {swept:?}"
        );
    });
}

/// All records are looked at before a change that could cost one its key.
#[test]
fn leases_are_renewed_during_a_survey_of_a_million() {
    const MILLION: u64 = 1_000_000;
    run(async |bed| {
        let identity = |name: &str| Identity { deployment: name.into(), ..Identity::default() };
        bed.ledger.agree(&identity("before"), LostRecords::Refuse).await.unwrap();
        let permit = bed.executes(1).await;
        let record = Arc::new(consumed(&bed));
        for n in 0..MILLION {
            let put =
                bed.ledger.store().inner.swap(scattered(n), None, Some(record.clone()), record.first_attempt);
            assert!(matches!(put.await.unwrap().value, Swap::Done(_)));
        }
        let survey = async {
            let change = bed.ledger.examine(&identity("after"), LostRecords::Refuse).await;
            let Err(IdentityError::Changed(losses)) = change else { panic!("all would lose their keys") };
            assert!(losses[0].contains("(1000001 live records)"), "{losses:?}");
        };
        let began = Instant::now();
        tokio::join!(survey, bed.is_executing_for_long(1));
        assert!(began.elapsed() > 4 * LEASE);
        assert!(permit.holds());
        permit.settle(completed(), None).await.unwrap();
        assert_eq!(bed.seen(1).await, View::Completed);
    });
}

fn scattered(n: u64) -> OperationId {
    let mut id = [7; 32];
    for (i, part) in id.chunks_exact_mut(8).enumerate() {
        let mixed = (n + 2).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32 * 16 + 7);
        part.copy_from_slice(&mixed.to_le_bytes());
    }
    OperationId(id)
}

fn consumed(bed: &Bed) -> Record {
    let (Request { claim, .. }, at) = (bed.request(2), bed.ledger.clock().now());
    Record {
        fingerprint: claim.fingerprint,
        execution: ExecutionId([5; 16]),
        attempts: 1,
        first_attempt: at,
        resent: false,
        times: claim.times,
        origin: claim.origin,
        memo: None,
        state: State::Consumed { at, summary: AnswerSummary::default() },
        probing: None,
        resolved_because: None,
    }
}
