//! The database's worker falls behind, is held up, and dies. Meanwhile memory and journal stay bounded, and the
//! writer finds its way out.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::slowed::slow_compactions_by;
use super::*;
use crate::conformance::{NOW, completed, executing, id, on_a_runtime, put};
use fjall::AbstractTree;
use std::fs;
use std::process::Command as Process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// How much is written but in no table, at most: of each keyspace four memtables, and a batch.
const WRITE_BUFFERS_MAX: u64 = 128 << 20;
const JOURNAL_MAX: u64 = 256 << 20;

#[track_caller]
pub(super) fn eventually(what: &str, is: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < patience, "{what}");
        sleep(Duration::from_millis(5));
    }
}

fn tables(store: &Embedded) -> Tables {
    store.shared.read(shared::ReadSubject::List, |tables| Ok(tables.clone())).unwrap()
}

/// So many records fill a memtable, and would fill the database's queue after that.
const ROUND: u64 = 6_000;

/// Records that were acknowledged, and whether more are to come.
#[derive(Default)]
struct Put {
    done: Mutex<Vec<u64>>,
    enough: AtomicBool,
}

impl Put {
    fn count(&self) -> u64 {
        self.done.lock().unwrap().len() as u64
    }

    /// Puts records until there are enough, or one is refused: in turn large ones, which fill up memtables, and
    /// small ones, which come quickly.
    fn run(&self, store: &Arc<Embedded>) {
        let next = AtomicU64::new(0);
        let one = async || {
            while !self.enough.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let record = completed(2_000, if n % ROUND < ROUND / 3 { 20_000 } else { 100 });
                match store.swap(id(n), None, Some(record), NOW).await {
                    Ok(_) => self.done.lock().unwrap().push(n),
                    Err(StoreError::Unavailable(_)) => return,
                    Err(e) => panic!("{e}"),
                }
            }
        };
        scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| on_a_runtime(one()));
            }
        });
    }
}

#[test]
fn a_worker_that_was_held_up_goes_on_flushing() {
    let folder = tempdir().unwrap();
    let (store, _) = Embedded::open(folder.path(), Durability::Async).unwrap();
    let (store, put) = (Arc::new(store), Put::default());
    let tables = tables(&store);
    scope(|scope| {
        let writing = scope.spawn(|| put.run(&store));
        // The worker has the choice to wait for itself once a round.
        for _ in 0..8 {
            let held_up = tables.records.tree.get_flush_lock();
            let begun = put.count();
            eventually("it is not held up", || tables.is_behind() || put.count() > begun + ROUND);
            let buffers = tables.db.write_buffer_size();
            assert!(buffers < WRITE_BUFFERS_MAX, "{buffers}");
            drop(held_up);
            let before = put.count();
            eventually("it does not go on", || put.count() > before + 500);
        }
        put.enough.store(true, Ordering::Relaxed);
        writing.join().unwrap();
    });
    eventually("it does not flush", || tables.records.sealed_memtable_count() == 0);
    assert!(tables.db.write_buffer_size() < WRITE_BUFFERS_MAX / 4, "{}", tables.db.write_buffer_size());
}

#[test]
fn a_dead_worker_does_not_hold_the_writer() {
    let folder = tempdir().unwrap();
    let (store, _) = Embedded::open(folder.path(), Durability::Async).unwrap();
    let (store, put) = (Arc::new(store), Put::default());
    let held = tables(&store);
    let (place, away) = (held.records.path().join("tables"), folder.path().join("away"));
    scope(|scope| {
        let held_up = held.records.tree.get_flush_lock();
        let writing = scope.spawn(|| put.run(&store));
        eventually("it does not wait", || held.is_behind());
        fs::rename(&place, &away).unwrap();
        drop(held_up);
        writing.join().unwrap();
    });
    assert!(store.trouble().is_some());
    drop(held);
    // Trials to open it again may have made the place anew.
    fs::remove_dir_all(&place).unwrap_or_default();
    fs::rename(&away, &place).unwrap();
    eventually("it is not open again", || !store.has_failed());
    on_a_runtime(async {
        for n in put.done.into_inner().unwrap() {
            assert!(store.load(id(n)).await.unwrap().value.is_some(), "{n}");
        }
    });
}

/// The most that was seen.
#[derive(Debug, Default)]
struct Most {
    memory: u64,
    write_buffers: u64,
    journal: u64,
}

impl Most {
    fn look(&mut self, store: &Embedded) {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        self.memory = self.memory.max(resident * 4096);
        if let Some(backlog) = store.size().backlog {
            self.journal = self.journal.max(backlog.journal);
        }
        self.write_buffers = self.write_buffers.max(tables(store).db.write_buffer_size());
        assert_eq!(store.trouble(), None);
    }
}

/// Not a test by itself: [`four_writers_do_not_outrun_slow_compactions`] runs it in a process of its own.
#[test]
fn soaks() {
    let Ok(operations) = std::env::var("ONCEGATE_TEST_SOAK") else { return };
    let operations: u64 = operations.parse().unwrap();
    let folder = tempdir().unwrap();
    slow_compactions_by(Duration::from_millis(300));
    let (store, _) = Embedded::open(folder.path(), Durability::Async).unwrap();
    let (store, begun, over) = (Arc::new(store), Instant::now(), AtomicBool::new(false));
    let most = scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = Most::default();
            while !over.load(Ordering::Relaxed) {
                most.look(&store);
                sleep(Duration::from_millis(20));
            }
            most
        });
        on_a_runtime(async {
            let writers = [0, 1, 2, 3].map(|writer| tokio::spawn(operate(store.clone(), writer, operations)));
            for writer in writers {
                writer.await.unwrap();
            }
        });
        over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    println!(
        "soak: {operations} operations in {} s, at most {} MiB of memory, {} MiB of write buffers, {} MiB of journal",
        begun.elapsed().as_secs(),
        most.memory >> 20,
        most.write_buffers >> 20,
        most.journal >> 20
    );
    assert!(most.write_buffers < WRITE_BUFFERS_MAX && most.journal < JOURNAL_MAX, "{most:?}");
    assert!(most.memory < 512 << 20, "{most:?}");
    assert_eq!(store.size().records, operations.min(100_000));
}

/// Every fourth operation: claimed, settled, and gone once 100,000 came after it.
async fn operate(store: Arc<Embedded>, first: u64, operations: u64) {
    let mut standing = std::collections::VecDeque::new();
    for n in (first..operations).step_by(4) {
        let claimed = put(&*store, id(n), None, Some(executing(3_000 + n))).await;
        let settled = put(&*store, id(n), Some(claimed), Some(completed(2_000 + n, 300))).await;
        standing.push_back((n, settled));
        if standing.len() > 25_000
            && let Some((old, settled)) = standing.pop_front()
        {
            put(&*store, id(old), Some(settled), None).await;
        }
    }
}

/// `ONCEGATE_SOAK` says how many operations; `tests/run accept store-and-time soak` asks for a million.
#[test]
fn four_writers_do_not_outrun_slow_compactions() {
    let operations = std::env::var("ONCEGATE_SOAK").unwrap_or_else(|_| "50000".to_owned());
    let child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::soak::soaks", "--nocapture"])
        .env("ONCEGATE_TEST_SOAK", operations)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("soak: "), "{said}");
}
