//! Two gateways on one store that tells each of the other's writes. On a clock that stands still but for
//! waiting.

#![allow(clippy::unwrap_used, reason = "a test")]

use oncegate_core::{
    Claim, Fingerprint, OperationId, Origin, Outcome, PrincipalId, Recipe, Rules, Times, Timestamp,
    WhenUnknown, WhileRunning,
};
use oncegate_ledger::{Begun, Claimed, Clock, Derived, Ledger, Permit, Pursued, Request};
use oncegate_store::{AnyStore, Memory, Store};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::Instant;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

type OnMemory = Arc<Ledger<AnyStore>>;

fn run(scene: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        BEGUN.set(Some(Instant::now()));
        scene.await;
    });
}

fn elapsed() -> Duration {
    BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed())
}

fn gateways() -> [OnMemory; 2] {
    let memory = Arc::new(Memory::new(1 << 20));
    [(); 2].map(|()| {
        let clock = Clock::following(Timestamp::from_secs(1_800_000_000), elapsed);
        Ledger::new(AnyStore::Memory(memory.clone()), clock, None).0
    })
}

fn request(ledger: &OnMemory) -> Request {
    let text = |s: &str| Arc::<str>::from(s);
    Request {
        id: OperationId([1; 32]),
        claim: Claim {
            fingerprint: Fingerprint { recipe: Recipe::Request, hash: [3; 32] },
            execution: ledger.execution_id(),
            times: Times {
                lease: Duration::from_secs(60),
                retention: Duration::from_secs(600),
                tombstone: Duration::from_secs(60),
                unknown_retention: Duration::from_secs(3_600),
                memory: Duration::from_secs(660),
            },
            origin: Origin {
                route: text("charges"),
                policy: text("payments"),
                key_schema: text("idempotency-key/1"),
                key_epoch: 0,
                normalisation: 1,
                method: text("POST"),
                authority: text("api.example.com"),
                path: text("/v1/charges"),
                principal: PrincipalId([9; 32]),
                first_sent: None,
            },
            memo: None,
            clock: ledger.clock().now(),
            remembered_since: Timestamp::default(),
            came: ledger.clock().now(),
        },
        rules: Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold },
        wait: Duration::from_secs(30),
        waiting_room: None,
        derived: Derived::default(),
    }
}

async fn execute(ledger: &OnMemory) -> Permit<AnyStore> {
    let Begun::Claim(claimant) = ledger.begin(request(ledger)).await else { panic!("a free key") };
    let Claimed::Won(permit) = claimant.claim().await else { panic!("nobody contests it") };
    permit
}

/// Begins to wait on the second gateway for what the first executes.
async fn wait_at(other: &OnMemory) -> tokio::task::JoinHandle<Pursued<()>> {
    let other = other.clone();
    let waiter = tokio::spawn(async move {
        let asked = request(&other);
        other.pursue(asked, async |claimant| Err(claimant.claim().await)).await
    });
    // It has no reason to wait for time before it waits for the other's write.
    for _ in 0..10 {
        yield_now().await;
    }
    assert!(!waiter.is_finished());
    waiter
}

#[test]
fn a_waiter_is_woken_by_another_gateways_write() {
    run(async {
        let [one, other] = gateways();
        let permit = execute(&one).await;
        let waiter = wait_at(&other).await;
        permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        let pursued = waiter.await.unwrap();
        assert!(matches!(pursued, Pursued::Replay { .. }), "{pursued:?}");
        assert_eq!(elapsed(), Duration::ZERO, "it looked again only after a pause");
    });
}

#[test]
fn a_waiter_is_woken_when_the_key_is_free() {
    run(async {
        let [one, other] = gateways();
        let permit = execute(&one).await;
        let waiter = wait_at(&other).await;
        permit.settle(Outcome::NotApplied, None).await.unwrap();
        // It claims, and gives the claim back as what came of it: nothing stands in its way.
        let pursued = waiter.await.unwrap();
        assert!(matches!(pursued, Pursued::Refuse(..)), "{pursued:?}");
        assert_eq!(elapsed(), Duration::ZERO);
    });
}

#[test]
fn nobody_is_woken_by_other_records() {
    run(async {
        let [one, other] = gateways();
        let _permit = execute(&one).await;
        let standing = one.load(OperationId([1; 32])).await.unwrap().unwrap();
        let waiter = wait_at(&other).await;
        one.store().swap(OperationId([2; 32]), None, Some(standing.record), one.clock().now()).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(!waiter.is_finished());
        waiter.abort();
    });
}
