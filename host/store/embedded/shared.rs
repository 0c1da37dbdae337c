//! What callers, readers and the writer share: the next version, sizes, whether the store may still be
//! trusted, and where the due index begins.

use crate::store::{Size, StoreError, Version};
use oncegate_core::{OperationId, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// See the module.
pub(super) struct Shared {
    version_next: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    poison: OnceLock<Arc<str>>,
    pub(super) due_floor: DueFloor,
}

impl Shared {
    pub(super) fn new(version_next: u64, records: u64, bytes: u64) -> Self {
        Self {
            version_next: version_next.into(),
            records: records.into(),
            bytes: bytes.into(),
            poison: OnceLock::new(),
            due_floor: DueFloor::default(),
        }
    }

    /// A version that nobody ever had.
    pub(super) fn version(&self) -> Version {
        Version(self.version_next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn versions_taken(&self) -> u64 {
        self.version_next.load(Ordering::Relaxed)
    }

    /// As if so many had been handed out.
    #[cfg(test)]
    pub(super) fn skip_versions(&self, to: u64) {
        self.version_next.fetch_max(to, Ordering::Relaxed);
    }

    /// Takes note of a batch that everybody can read by now.
    pub(super) fn committed(&self, records: u64, dues: impl Iterator<Item = Timestamp>) {
        self.records.store(records, Ordering::Relaxed);
        if let Some(earliest) = dues.min() {
            self.due_floor.arrived(earliest);
        }
    }

    pub(super) fn sized(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn size(&self) -> Size {
        Size { records: self.records.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// From now on every call is refused. The first reason stays.
    pub(super) fn poison(&self, reason: &str) {
        let text =
            format!("a write to its folder failed ({reason}); see to the disk and start oncegate anew");
        if self.poison.set(text.into()).is_ok() {
            tracing::error!(reason, "the ledger's store failed and takes no more calls");
        }
    }

    pub(super) fn poison_text(&self) -> Arc<str> {
        self.poison.get().cloned().unwrap_or_else(|| "its thread has ended".into())
    }

    pub(super) fn poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    /// An error once poisoned. Surely nothing of the call was written then.
    pub(super) fn refusal(&self) -> Result<(), StoreError> {
        self.poison.get().map_or(Ok(()), |text| Err(StoreError::Unavailable(text.clone())))
    }
}

/// A moment before which nothing is due. Each operation leaves a trail of removed entries in the due
/// index; scans that start here need not walk over them until the database has merged them away.
#[derive(Default)]
pub(super) struct DueFloor {
    marks: Mutex<Marks>,
    /// One scan at a time: the marks are about it.
    scan: Mutex<()>,
}

#[derive(Default)]
struct Marks {
    floor: Timestamp,
    /// The earliest entry since the scan began.
    arrived: Timestamp,
}

impl DueFloor {
    /// Takes note of an entry, after it can be read and before anybody is told of it. (Before, a scan
    /// between the two would miss it and raise the floor over it.)
    fn arrived(&self, due: Timestamp) {
        let mut marks = locked(&self.marks);
        marks.floor = marks.floor.min(due);
        marks.arrived = marks.arrived.min(due);
    }

    /// Runs a scan for entries until then, from the moment that it is given, and learns from it.
    pub(super) fn scan(
        &self,
        until: Timestamp,
        run: impl FnOnce(Timestamp) -> Result<Vec<(Timestamp, OperationId)>, StoreError>,
    ) -> Result<Vec<(Timestamp, OperationId)>, StoreError> {
        let _one = locked(&self.scan);
        let from = {
            let mut marks = locked(&self.marks);
            marks.arrived = Timestamp::MAX;
            marks.floor
        };
        let found = run(from)?;
        // Something due exactly at `until` may yet arrive; the floor may stand on it, not above.
        let first = found.first().map_or(until.max(from), |(due, _)| *due);
        let mut marks = locked(&self.marks);
        marks.floor = first.min(marks.arrived);
        Ok(found)
    }
}

/// The critical sections here can't panic half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_floor_rises_with_scans_and_falls_with_arrivals() {
        let (floor, at, id) = (DueFloor::default(), Timestamp::from_secs, OperationId([0; 32]));
        let scan = |until, expected_from, found: Vec<Timestamp>, arriving: Option<Timestamp>| {
            let found: Vec<_> = found.into_iter().map(|due| (due, id)).collect();
            let run = |from| {
                assert_eq!(from, expected_from);
                arriving.into_iter().for_each(|due| floor.arrived(due));
                Ok(found)
            };
            floor.scan(until, run).unwrap();
        };
        scan(at(10), at(0), vec![], None);
        scan(at(20), at(10), vec![at(15)], None);
        // What is found stays due until it is changed.
        scan(at(20), at(15), vec![], None);
        scan(at(30), at(20), vec![], Some(at(5)));
        scan(at(30), at(5), vec![], None);
        // A scan of earlier times doesn't take the floor down, nor one of later ones above arrivals.
        scan(at(1), at(30), vec![], None);
        floor.arrived(at(29));
        scan(at(40), at(29), vec![at(29)], Some(at(35)));
        scan(at(40), at(29), vec![at(35)], None);
        scan(at(40), at(35), vec![], None);
    }
}
