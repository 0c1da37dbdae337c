//! The behaviour of every store, as one suite over the trait. Each store's own tests run [`all`] on a new
//! instance; further promises of a durable store are tested beside it.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::{Kind, ScanScope, Store, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{
    Answer, AnswerSummary, ExecutionId, Fingerprint, OperationId, Origin, PrincipalId, Recipe, Record, State,
    Times, Timestamp, UnknownReason,
};
use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Runs the whole suite.
pub async fn all<S: Store>(store: &Arc<S>) {
    absent_loads_none(&**store).await;
    what_was_put_is_loaded(&**store).await;
    a_conflict_brings_the_record_along(&**store).await;
    a_stale_version_changes_nothing(&**store).await;
    removal_is_a_swap(&**store).await;
    versions_are_never_used_twice(&**store).await;
    a_removed_version_never_comes_back(&**store).await;
    due_comes_earliest_first_and_follows_changes(&**store).await;
    scan_goes_through_all_records_in_pages(&**store).await;
    a_scan_of_one_kind_follows_changes(&**store).await;
    documents_swap_like_records(&**store).await;
    size_counts_records(&**store).await;
    one_of_many_claimants_wins(store);
}

/// The operation of this number. Its bytes are spread like a hash's.
pub fn id(number: u64) -> OperationId {
    let mut bytes = [0; 32];
    for (i, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32 * 16 + 7);
        chunk.copy_from_slice(&mixed.to_le_bytes());
    }
    OperationId(bytes)
}

/// A record in this state.
pub fn record(state: State) -> Arc<Record> {
    let text = |s: &str| Arc::<str>::from(s);
    Arc::new(Record {
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [3; 32] },
        execution: ExecutionId([5; 16]),
        attempts: 1,
        first_attempt: Timestamp::from_secs(1_000),
        resent: false,
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
        state,
        probing: None,
        resolved_because: None,
    })
}

/// A record whose lease ends at this time.
pub fn executing(until_secs: u64) -> Arc<Record> {
    record(State::Executing { lease_until: Timestamp::from_secs(until_secs) })
}

/// A record that completed at this time, with a body of so many bytes that don't compress.
pub fn completed(at_secs: u64, body_bytes: usize) -> Arc<Record> {
    let mut state = at_secs | 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let body = noise.take(body_bytes).collect::<Vec<_>>().into();
    let fields = vec![(Bytes::from_static(b"content-type"), Bytes::from_static(b"application/json"))];
    let answer = Arc::new(Answer { status: 201, fields, body, trailers: Vec::new() });
    record(State::Completed { at: Timestamp::from_secs(at_secs), answer })
}

/// The present time in every call that asks for it.
pub const NOW: Timestamp = Timestamp::from_secs(2_000);

/// Swaps, which must win.
pub async fn put<S: Store>(
    store: &S,
    id: OperationId,
    expected: Option<Version>,
    next: Option<Arc<Record>>,
) -> Version {
    match store.swap(id, expected, next, NOW).await.unwrap().value {
        Swap::Done(version) => version,
        Swap::Conflict(current) => panic!("expected {expected:?}, found {current:?}"),
    }
}

/// Swaps, which must lose. Returns the standing record.
async fn lose<S: Store>(
    store: &S,
    id: OperationId,
    expected: Option<Version>,
    next: Option<Arc<Record>>,
) -> Option<Versioned> {
    match store.swap(id, expected, next, NOW).await.unwrap().value {
        Swap::Done(_) => panic!("{expected:?} must not win"),
        Swap::Conflict(current) => current,
    }
}

/// Asserts that this record stands under the id.
pub async fn assert_holds<S: Store>(store: &S, id: OperationId, version: Version, record: &Record) {
    let loaded = store.load(id).await.unwrap().value.expect("a record");
    assert_eq!((loaded.version, &*loaded.record), (version, record));
}

async fn absent_loads_none<S: Store>(store: &S) {
    assert!(store.load(id(0)).await.unwrap().value.is_none());
    assert!(store.load_meta("nothing").await.unwrap().value.is_none());
    assert!(store.due(Timestamp::MAX, 10).await.unwrap().value.is_empty());
}

async fn what_was_put_is_loaded<S: Store>(store: &S) {
    let (small, large) = (id(1), id(2));
    let consumed = record(State::Consumed {
        at: NOW,
        summary: AnswerSummary { status: Some(200), ..AnswerSummary::default() },
    });
    let unknown = record(State::Unknown { since: NOW, reason: UnknownReason::Broken });
    let mut version = None;
    for next in [executing(3_000), unknown, consumed, completed(2_000, 100)] {
        let new = put(store, small, version, Some(next.clone())).await;
        assert_holds(store, small, new, &next).await;
        version = Some(new);
    }
    let body = completed(2_000, 3 << 20);
    let large_version = put(store, large, None, Some(body.clone())).await;
    assert_holds(store, large, large_version, &body).await;
    put(store, small, version, None).await;
    put(store, large, Some(large_version), None).await;
}

async fn a_conflict_brings_the_record_along<S: Store>(store: &S) {
    let (one, two) = (executing(3_000), executing(4_000));
    let version = put(store, id(3), None, Some(one.clone())).await;
    let current = lose(store, id(3), None, Some(two.clone())).await.unwrap();
    assert_eq!((current.version, &*current.record), (version, &*one));
    assert_holds(store, id(3), version, &one).await;
    put(store, id(3), Some(version), None).await;
    // A conflict shows that no record stands there.
    assert!(lose(store, id(3), Some(version), Some(two)).await.is_none());
    assert!(store.load(id(3)).await.unwrap().value.is_none());
}

async fn a_stale_version_changes_nothing<S: Store>(store: &S) {
    let old = put(store, id(4), None, Some(executing(3_000))).await;
    let done = completed(2_000, 10);
    let new = put(store, id(4), Some(old), Some(done.clone())).await;
    for next in [None, Some(executing(5_000))] {
        let current = lose(store, id(4), Some(old), next).await.unwrap();
        assert_eq!(current.version, new);
    }
    assert_holds(store, id(4), new, &done).await;
    assert_eq!(store.due(Timestamp::from_secs(3_000), 10).await.unwrap().value, [id(4)], "due as completed");
    assert!(store.due(Timestamp::from_secs(2_599), 10).await.unwrap().value.is_empty());
    put(store, id(4), Some(new), None).await;
}

async fn removal_is_a_swap<S: Store>(store: &S) {
    let version = put(store, id(5), None, Some(executing(3_000))).await;
    let removed = put(store, id(5), Some(version), None).await;
    assert!(store.load(id(5)).await.unwrap().value.is_none());
    assert!(store.due(Timestamp::MAX, 10).await.unwrap().value.is_empty(), "nothing is due of what is gone");
    assert!(lose(store, id(5), Some(version), None).await.is_none());
    assert!(
        lose(store, id(5), Some(removed), None).await.is_none(),
        "nothing stands under a removal's version"
    );
    put(store, id(5), None, None).await;
}

async fn versions_are_never_used_twice<S: Store>(store: &S) {
    let mut seen = HashSet::new();
    for round in 0..20 {
        let put_version = put(store, id(6), None, Some(executing(3_000 + round))).await;
        assert!(seen.insert(put_version));
        let other = put(store, id(7 + round), None, Some(executing(3_000))).await;
        assert!(seen.insert(other), "not of another record either");
        assert!(seen.insert(put(store, id(6), Some(put_version), None).await));
        assert!(seen.insert(put(store, id(7 + round), Some(other), None).await));
    }
}

async fn a_removed_version_never_comes_back<S: Store>(store: &S) {
    let first = put(store, id(30), None, Some(executing(3_000))).await;
    put(store, id(30), Some(first), None).await;
    let second = put(store, id(30), None, Some(executing(3_000))).await;
    let current = lose(store, id(30), Some(first), Some(completed(2_000, 0))).await.unwrap();
    assert_eq!(current.version, second, "an equal record is another one");
    put(store, id(30), Some(second), None).await;
}

async fn due_comes_earliest_first_and_follows_changes<S: Store>(store: &S) {
    let at = Timestamp::from_secs;
    let mut versions = Vec::new();
    for n in 0..10 {
        // The times are 3000, 3009, 3008 and so on: ids don't come in the order of time.
        versions.push(put(store, id(40 + n), None, Some(executing(3_000 + (10 - n) % 10))).await);
    }
    let by_time: Vec<_> = (0..10).map(|n| id(40 + (10 - n) % 10)).collect();
    assert_eq!(store.due(at(2_999), 100).await.unwrap().value, []);
    assert_eq!(store.due(at(3_000), 100).await.unwrap().value, by_time[..1], "at or before");
    assert_eq!(store.due(at(3_005), 100).await.unwrap().value, by_time[..6]);
    assert_eq!(store.due(at(9_999), 3).await.unwrap().value, by_time[..3], "the earliest of them");
    assert_eq!(store.due(at(9_999), 0).await.unwrap().value, []);
    // The earliest record moves to the end and the last to the front, though all records before were listed.
    versions[0] = put(store, id(40), Some(versions[0]), Some(executing(4_000))).await;
    versions[1] = put(store, id(41), Some(versions[1]), Some(executing(2_500))).await;
    let mut moved = by_time.clone();
    moved.remove(0);
    moved.pop();
    moved.insert(0, id(41));
    moved.push(id(40));
    assert_eq!(store.due(at(9_999), 100).await.unwrap().value, moved);
    assert_eq!(store.due(at(2_500), 100).await.unwrap().value, [id(41)]);
    for (n, version) in versions.into_iter().enumerate() {
        put(store, id(40 + n as u64), Some(version), None).await;
    }
    assert_eq!(store.due(Timestamp::MAX, 100).await.unwrap().value, []);
}

async fn scan_goes_through_all_records_in_pages<S: Store>(store: &S) {
    assert!(store.scan(ScanScope::All, None, 10).await.unwrap().value.is_empty());
    let mut expected = Vec::new();
    for n in 70..80 {
        // Large records make pages short.
        let next = if n % 2 == 0 { executing(3_000) } else { completed(2_000, 3 << 20) };
        expected.push((id(n), put(store, id(n), None, Some(next)).await));
    }
    expected.sort_unstable();
    assert_scans(store, ScanScope::All, &expected).await;
    assert!(store.scan(ScanScope::All, None, 0).await.unwrap().value.is_empty());
    // The record at `after` need not exist any more.
    let (first, version) = expected[0];
    put(store, first, Some(version), None).await;
    let next = store.scan(ScanScope::All, Some(first), 1).await.unwrap().value;
    assert_eq!(next[0].0, expected[1].0);
    for (id, version) in &expected[1..] {
        put(store, *id, Some(*version), None).await;
    }
}

/// Asserts that these records are met in this order, in pages of any size.
async fn assert_scans<S: Store>(store: &S, of: ScanScope, expected: &[(OperationId, Version)]) {
    for limit in [1, 3, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(of, after, limit).await.unwrap().value;
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            found.extend(page.into_iter().map(|(id, met)| (id, met.unwrap().version)));
        }
        assert_eq!(found, expected, "{of:?} in pages of {limit}");
    }
}

async fn a_scan_of_one_kind_follows_changes<S: Store>(store: &S) {
    let unknown =
        |n| record(State::Unknown { since: Timestamp::from_secs(n), reason: UnknownReason::Broken });
    // Each becomes the next at each step; what was resent executes again, and what is removed comes back.
    let life = |n: u64| match n % 7 {
        0 => Some(executing(3_000)),
        1 => Some(executing(3_060)),
        2 => Some(unknown(2_000)),
        3 => Some(unknown(2_060)),
        4 => Some(executing(4_000)),
        5 => Some(completed(2_000, 3 << 20)),
        _ => None,
    };
    let mut standing = [None; 14];
    for step in 0..9 {
        let (mut executing, mut unknown) = (Vec::new(), Vec::new());
        for (n, version) in (0..).zip(&mut standing) {
            let next = life(n + step);
            let put_version = put(store, id(100 + n), *version, next.clone()).await;
            *version = next.as_ref().map(|_| put_version);
            match next.map(|next| Kind::of(&next)) {
                Some(Kind::Executing) => executing.push((id(100 + n), put_version)),
                Some(Kind::Unknown) => unknown.push((id(100 + n), put_version)),
                _ => {}
            }
        }
        executing.sort_unstable();
        unknown.sort_unstable();
        assert_scans(store, ScanScope::Executing, &executing).await;
        assert_scans(store, ScanScope::Unknown, &unknown).await;
        assert!(store.scan(ScanScope::Unknown, None, 0).await.unwrap().value.is_empty());
    }
    for (n, version) in (0..).zip(standing) {
        put(store, id(100 + n), version, None).await;
    }
    assert_scans(store, ScanScope::Executing, &[]).await;
    assert_scans(store, ScanScope::Unknown, &[]).await;
}

async fn documents_swap_like_records<S: Store>(store: &S) {
    let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    let Swap::Done(first) = store.swap_meta("secret", None, one.clone()).await.unwrap().value else {
        panic!()
    };
    assert_eq!(store.load_meta("secret").await.unwrap().value, Some((first, one.clone())));
    let Swap::Conflict(current) = store.swap_meta("secret", None, two.clone()).await.unwrap().value else {
        panic!()
    };
    assert_eq!(current, Some((first, one)));
    let Swap::Done(second) = store.swap_meta("secret", Some(first), two.clone()).await.unwrap().value else {
        panic!()
    };
    assert_ne!(first, second);
    let Swap::Conflict(current) = store.swap_meta("secret", Some(first), Bytes::new()).await.unwrap().value
    else {
        panic!()
    };
    assert_eq!(current, Some((second, two)));
    let Swap::Conflict(None) = store.swap_meta("other", Some(first), Bytes::new()).await.unwrap().value
    else {
        panic!()
    };
    assert!(store.load_meta("other").await.unwrap().value.is_none());
}

async fn size_counts_records<S: Store>(store: &S) {
    let before = store.size().records;
    let kinds = || Kind::ALL.map(|kind| store.size().kinds.count(kind));
    let kinds_before = kinds();
    let version = put(store, id(60), None, Some(executing(3_000))).await;
    assert_eq!(store.size().records, before + 1);
    let version = put(store, id(60), Some(version), Some(completed(2_000, 10))).await;
    assert_eq!(store.size().records, before + 1);
    assert_eq!(store.size().kinds.count(Kind::Completed), kinds_before[1] + 1, "{:?}", kinds());
    assert_eq!(store.size().kinds.count(Kind::Executing), kinds_before[0], "{:?}", kinds());
    put(store, id(60), Some(version), None).await;
    assert_eq!(store.size().records, before);
    assert_eq!(kinds(), kinds_before);
}

/// 64 claimants on four threads, each with a runtime of its own, as the gateway's workers are.
fn one_of_many_claimants_wins<S: Store>(store: &Arc<S>) {
    const THREADS: usize = 4;
    const EACH: usize = 16;
    for round in 0..20 {
        let id = id(1_000 + round);
        let start = Barrier::new(THREADS);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let claim = || {
                start.wait();
                on_a_runtime(async {
                    let tasks: Vec<_> = (0..EACH)
                        .map(|_| {
                            let store = store.clone();
                            tokio::spawn(async move {
                                store.swap(id, None, Some(executing(3_000)), NOW).await.unwrap().value
                            })
                        })
                        .collect();
                    let mut outcomes = Vec::new();
                    for task in tasks {
                        outcomes.push(task.await.unwrap());
                    }
                    outcomes
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Swap::Done(version) => Some(*version),
                Swap::Conflict(_) => None,
            })
            .collect();
        assert_eq!((won.len(), outcomes.len()), (1, THREADS * EACH));
        for outcome in &outcomes {
            if let Swap::Conflict(current) = outcome {
                assert_eq!(current.as_ref().unwrap().version, won[0], "the losers see the winner");
            }
        }
    }
}

/// Runs the future on a current-thread runtime, as a worker does.
pub fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
