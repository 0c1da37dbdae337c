//! Disk is given back while nobody writes.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::copy::COPY;
use super::idle::Work;
use super::soak::eventually;
use super::tests::disk_bytes;
use super::*;
use crate::conformance::{NOW, completed, executing, id, on_a_runtime, put, record};
use oncegate_core::{State, UnknownReason};
use std::io::{BufRead, BufReader};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use tokio::sync::Barrier;

/// So many of the records live on.
const LIVE: u64 = 100;
const CALLERS: u64 = 64;
/// What a folder takes beside living records: the ballast, and a little.
const BESIDE: u64 = 9 << 20;

fn open(folder: &TempDir) -> Arc<Embedded> {
    Arc::new(Embedded::open(folder.path(), Durability::Async).unwrap().0)
}

/// The record that lives on under this number: one of each kind in turn, some of them large.
fn living(n: u64) -> Arc<Record> {
    match n % 4 {
        0 => executing(3_000 + n),
        1 => record(State::Unknown { since: NOW, reason: UnknownReason::Broken }),
        2 => completed(2_000 + n, 300),
        _ => completed(2_000 + n, 20_000),
    }
}

/// Records are claimed, settled with so many bytes, and when all are, all but some are removed.
fn live_and_go(store: &Arc<Embedded>, records: u64, bytes: usize) {
    on_a_runtime(async {
        let all_settled = Arc::new(Barrier::new(CALLERS as usize));
        let callers = (0..CALLERS).map(|caller| {
            let (store, all_settled) = (store.clone(), all_settled.clone());
            tokio::spawn(async move {
                let mut versions = Vec::new();
                for n in (caller..records).step_by(CALLERS as usize) {
                    let claimed = put(&*store, id(n), None, Some(executing(3_000 + n))).await;
                    let next = if n < LIVE { living(n) } else { completed(2_000 + n, bytes) };
                    versions.push((n, put(&*store, id(n), Some(claimed), Some(next)).await));
                }
                all_settled.wait().await;
                for (n, settled) in versions.into_iter().filter(|(n, _)| *n >= LIVE) {
                    put(&*store, id(n), Some(settled), None).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

#[track_caller]
fn is_whole(store: &Embedded, others: &[u64]) {
    on_a_runtime(async {
        for n in (0..LIVE).chain(others.iter().copied()) {
            let found = store.load(id(n)).await.unwrap().value.map(|found| found.record);
            assert_eq!(found, Some(living(n)), "{n}");
        }
        let count = LIVE as usize + others.len();
        assert_eq!(store.scan(ScanScope::All, None, 1_000).await.unwrap().value.len(), count);
        assert_eq!(store.due(Timestamp::MAX, 1_000).await.unwrap().value.len(), count);
        for (scope, kind) in [(ScanScope::Unknown, 1), (ScanScope::Executing, 0)] {
            let listed = store.scan(scope, None, 1_000).await.unwrap().value.len();
            assert_eq!(listed, (0..LIVE).chain(others.iter().copied()).filter(|n| n % 4 == kind).count());
        }
        assert_eq!(store.size().records as usize, count);
    });
}

/// Waits until the disk is given back. Returns how long a reader waited meanwhile, at most.
fn given_back(store: &Embedded, folder: &TempDir) -> Duration {
    let over = AtomicBool::new(false);
    scope(|scope| {
        let reading = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                on_a_runtime(store.load(id(2))).unwrap();
                longest = longest.max(begun.elapsed());
                sleep(Duration::from_millis(1));
            }
            longest
        });
        eventually("its disk is not given back", || disk_bytes(folder.path()) < BESIDE);
        over.store(true, Ordering::Relaxed);
        reading.join().unwrap()
    })
}

/// `ONCEGATE_IDLE` says how many records.
#[test]
fn an_idle_store_takes_what_lives() {
    let records = std::env::var("ONCEGATE_IDLE").map_or(20_000, |records| records.parse().unwrap());
    for (records, bytes) in [(records, 300), (records / 50, 200_000)] {
        let folder = tempdir().unwrap();
        let store = open(&folder);
        let named = on_a_runtime(store.swap_meta("secret", None, "word".into())).unwrap().value;
        live_and_go(&store, records, bytes);
        let (before, begun) = (disk_bytes(folder.path()), Instant::now());
        let longest = given_back(&store, &folder);
        println!(
            "{records} records of {bytes} bytes: {} to {} MiB in {:?}, a reader waited {longest:?} at most",
            before >> 20,
            disk_bytes(folder.path()) >> 20,
            begun.elapsed(),
        );
        is_whole(&store, &[]);
        let tables = store.shared.tables().unwrap();
        let own = tables.own().unwrap().unwrap();
        assert_eq!([true, false].map(|room| tables.worth_a_copy(&own, folder.path(), room)), [None, None]);
        drop((tables, store));
        let store = open(&folder);
        is_whole(&store, &[]);
        let Swap::Done(version) = named else { panic!("{named:?}") };
        assert_eq!(on_a_runtime(store.load_meta("secret")).unwrap().value, Some((version, "word".into())));
    }
}

#[test]
fn what_is_written_meanwhile_is_kept() {
    let folder = tempdir().unwrap();
    let store = open(&folder);
    live_and_go(&store, 4_000, 3_000);
    let mut others = Vec::new();
    for n in [1_000_000, 1_000_001, 1_000_002] {
        let is_copying = || folder.path().join(COPY).exists();
        eventually("it begins no copy", || is_copying() || disk_bytes(folder.path()) < BESIDE);
        on_a_runtime(put(&*store, id(n), None, Some(living(n))));
        others.push(n);
    }
    given_back(&store, &folder);
    is_whole(&store, &others);
    on_a_runtime(put(&*store, id(1_000_003), None, Some(living(1_000_003))));
    others.push(1_000_003);
    drop(store);
    is_whole(&open(&folder), &others);
}

/// On a full disk a little is worth a copy, and the journal counts.
#[test]
fn a_full_disk_is_given_a_little_back() {
    let folder = tempdir().unwrap();
    let store = open(&folder);
    live_and_go(&store, 1_000, 3_000);
    let tables = store.shared.tables().unwrap();
    let worth = |room| {
        let own = tables.own().unwrap().unwrap();
        tables.worth_a_copy(&own, folder.path(), room).is_some()
    };
    assert_eq!([true, false].map(worth), [false, true]);
    // What lives is not worth it.
    on_a_runtime(async {
        for n in 0..6_000 {
            put(&*store, id(1_000_000 + n), None, Some(completed(9_000, 5_000))).await;
        }
    });
    tables.records.rotate_memtable_and_wait().unwrap();
    assert_eq!([true, false].map(worth), [false, false]);
}

/// Somebody may write each second. While there is room a copy costs more than it brings; on a full disk everybody
/// waits for it.
#[test]
fn a_full_disk_is_tried_again_within_seconds() {
    let above = tempdir().unwrap();
    let (folder, _) = Folder::take(&above.path().join("data")).unwrap();
    let at = above.path().join("data");
    let mut idle = GivingBack::new(&at, folder.lock(), Duration::ZERO);
    let mut pauses = Vec::new();
    for lost in 0..40 {
        let pause = |has_room| idle.again(has_room) - idle.lost.1;
        let [with_room, full] = [true, false].map(pause);
        assert!(full <= with_room && full <= Duration::from_secs(8), "{lost}: {full:?} {with_room:?}");
        assert!(with_room <= AGAIN_MAX, "{lost}: {with_room:?}");
        pauses.push(with_room);
        match lost % 3 {
            0 => idle.thrown_away(&at, "somebody writes"),
            1 => idle.thrown_away(&at, "no space left"),
            _ => {
                idle.work = Some(Work::Copied);
                idle.written(&at);
                assert!(idle.work.is_none());
            }
        }
    }
    assert_eq!(pauses[0], Duration::ZERO);
    assert!(pauses[1..8].windows(2).all(|two| two[1] == 2 * two[0]), "{pauses:?}");
}

/// Not a test by itself: [`a_kill_meanwhile_loses_nothing`] runs it in a process of its own.
#[test]
fn idles_until_it_is_killed() {
    let Ok(folder) = std::env::var("ONCEGATE_TEST_IDLE") else { return };
    let (store, _) = Embedded::open(Path::new(&folder), Durability::Sync).unwrap();
    let store = Arc::new(store);
    if store.size().records == 0 {
        live_and_go(&store, 4_000, 3_000);
    }
    println!("idle");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_kill_meanwhile_loses_nothing() {
    let sound = tempdir().unwrap();
    for round in 0..8_u32 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::idle_tests::idles_until_it_is_killed", "--nocapture"])
            .env("ONCEGATE_TEST_IDLE", sound.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("idle")));
        // At another moment of the copy each time, and once after it.
        let copy = sound.path().join(COPY);
        let is_over = || disk_bytes(sound.path()) < BESIDE;
        eventually("it begins no copy", || copy.exists() || is_over());
        if round == 7 {
            eventually("its disk is not given back", is_over);
        } else {
            sleep(Duration::from_millis(15) * round);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&sound);
        assert!(!copy.exists() || disk_bytes(&copy) < BESIDE, "round {round}");
        is_whole(&store, &[]);
    }
}
