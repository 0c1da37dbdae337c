//! The store in memory alone.

use crate::{HOLD, LONG, START, claim, draw, keys, play};
use bytes::Bytes;
use oncegate_core::{Answer, Decision, Event, ExecutionId, OperationId, Record, State, Timestamp, decide};
use oncegate_store::{Kinds, Memory, ScanScope, Size, Store, StoreError, Swap, Version};
use shuttle::future::block_on;
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A write that the store says is done.
struct Written {
    id: OperationId,
    expected: Option<Version>,
    /// Whether a record stands since.
    stands: bool,
}

/// All writes by their versions.
type Log = Arc<Mutex<BTreeMap<Version, Written>>>;

fn record(completed: Option<usize>) -> Arc<Record> {
    let claim = claim(ExecutionId([5; 16]), LONG, START);
    let Decision::Execute(mut record) = decide(&HOLD, None, Event::Claim(&claim), START) else {
        panic!("a free key");
    };
    if let Some(bytes) = completed {
        let answer = Answer { body: Bytes::from(vec![7; bytes]), ..Answer::default() };
        record.state = State::Completed { at: START, answer: answer.into() };
    }
    record.into()
}

/// A few swaps of each kind, each at the version that was loaded last or was told by a conflict.
fn swap_a_little(store: &Memory, log: &Log, keys: [OperationId; 2]) {
    let mut known: [Option<Version>; 2] = [None; 2];
    for _ in 0..4 {
        let n = draw(2) as usize;
        if draw(3) == 0 {
            known[n] = block_on(store.load(keys[n])).unwrap().value.map(|loaded| loaded.version);
        }
        let next = match draw(4) {
            0 => None,
            1 => Some(record(Some(3_000))),
            _ => Some(record(None)),
        };
        let (id, expected, stands) = (keys[n], known[n], next.is_some());
        match block_on(store.swap(id, expected, next, START)) {
            Ok(said) => match said.value {
                Swap::Done(version) => {
                    let before = log.lock().unwrap().insert(version, Written { id, expected, stands });
                    assert!(before.is_none(), "{version:?} names two writes");
                    known[n] = stands.then_some(version);
                }
                Swap::Conflict(standing) => {
                    let standing = standing.map(|standing| standing.version);
                    assert_ne!(standing, expected, "no conflict");
                    known[n] = standing;
                }
            },
            Err(StoreError::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The version that stands under the key by the log. Each write must have expected what the one before it left.
fn standing(log: &Log, id: OperationId) -> Option<Version> {
    let mut standing = None;
    for (version, written) in log.lock().unwrap().iter().filter(|(_, written)| written.id == id) {
        assert_eq!(written.expected, standing, "{version:?} went over another write");
        standing = written.stands.then_some(*version);
    }
    standing
}

/// Removes what is left; then nothing weighs anything.
fn empty(store: &Memory, keys: [OperationId; 2]) {
    let alive = || keys.map(|id| block_on(store.load(id)).unwrap().value.map(|loaded| loaded.version));
    let (before, Size { records, kinds, bytes, .. }) = (alive(), store.size());
    let count = before.iter().flatten().count();
    assert_eq!((records, kinds.total()), (count as u64, count as u64));
    assert_eq!(bytes == 0, count == 0, "{bytes} bytes of {count} records");
    let due = block_on(store.due(Timestamp::MAX, 9)).unwrap().value;
    let executing = block_on(store.scan(ScanScope::Executing, None, 9)).unwrap().value;
    assert_eq!(due.len(), count, "what is due");
    assert!(
        executing
            .iter()
            .all(|(_, found)| matches!(&found.as_ref().unwrap().record.state, State::Executing { .. }))
    );
    for (id, version) in keys.into_iter().zip(before) {
        assert!(matches!(block_on(store.swap(id, version, None, START)).unwrap().value, Swap::Done(_)));
    }
    let Size { records, bytes, kinds, .. } = store.size();
    assert_eq!((records, bytes, kinds), (0, 0, Kinds::default()));
    assert!(block_on(store.due(Timestamp::MAX, 9)).unwrap().value.is_empty());
}

/// Room for one record and a half, so that it is short at times.
fn short_of_room() -> usize {
    let one = Memory::new(1 << 20);
    block_on(one.swap(OperationId([4; 32]), None, Some(record(None)), START)).unwrap();
    one.size().bytes as usize * 3 / 2
}

#[test]
fn swaps_of_three_threads_form_one_history() {
    play(40_000, || {
        let capacity = if draw(2) == 0 { short_of_room() } else { 1 << 20 };
        let (store, log, keys) = (Arc::new(Memory::new(capacity)), Log::default(), keys());
        let threads = [(); 3].map(|()| {
            let (store, log) = (store.clone(), log.clone());
            thread::spawn(move || swap_a_little(&store, &log, keys))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for id in keys {
            let found = block_on(store.load(id)).unwrap().value.map(|loaded| loaded.version);
            assert_eq!(found, standing(&log, id));
        }
        empty(&store, keys);
    });
}

#[test]
fn whoever_waits_for_a_write_is_woken() {
    play(40_000, || {
        let (store, keys) = (Arc::new(Memory::new(1 << 20)), keys());
        let put = |n: usize, expected, next| match block_on(store.swap(keys[n], expected, next, START))
            .unwrap()
            .value
        {
            Swap::Done(version) => version,
            Swap::Conflict(standing) => panic!("{standing:?}"),
        };
        let first = put(0, None, Some(record(None)));
        let watch = |n: usize, since| {
            let store = store.clone();
            // Nothing else wakes it: if nobody does, shuttle finds a deadlock.
            thread::spawn(move || block_on(store.changed(keys[n], since)))
        };
        let mut watchers = vec![watch(0, Some(first))];
        // The fewer steps there are, the more of their orders are met.
        if draw(2) == 0 {
            watchers.push(watch(1, None));
            put(1, None, Some(record(Some(10))));
        }
        put(0, Some(first), draw(2).eq(&0).then(|| record(None)));
        watchers.into_iter().for_each(|watcher| watcher.join().unwrap());
        empty(&store, keys);
    });
}
