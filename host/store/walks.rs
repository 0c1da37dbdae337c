//! Walks through all records of a map that has no order, in the order of their ids.
//!
//! A walk passes the whole map, and notes the ids that come next in the order. They are enough for many pages.

use super::verbs::Versioned;
use dashmap::DashMap;
use oncegate_core::OperationId;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many ids one pass notes: half a mebibyte.
const NOTED: usize = 1 << 14;
/// More callers that go from page to page at once make each other pass the map more often.
const WALKS_MAX: usize = 4;
/// What was noted is not gone by later: a record may have come.
const NOTED_FOR: Duration = Duration::from_secs(1);

/// The walks that are under way.
#[derive(Default)]
pub(super) struct Walks(Mutex<VecDeque<Walk>>);

/// The ids that come next on one walk.
pub(super) struct Walk {
    ids: std::vec::IntoIter<OperationId>,
    /// The last id that was passed.
    pub(super) passed: Option<OperationId>,
    /// No id comes behind the noted ones.
    pub(super) is_last: bool,
    noted_at: Instant,
}

impl Walk {
    /// Passes the map, and notes the first ids behind `after`.
    pub(super) fn behind<H: BuildHasher + Clone>(
        records: &DashMap<OperationId, Versioned, H>,
        after: Option<OperationId>,
    ) -> Self {
        let noted_at = Instant::now();
        let (mut ids, mut bound, mut is_last) = (Vec::new(), None, true);
        for slot in records {
            let id = *slot.key();
            if after.is_some_and(|after| id <= after) || bound.is_some_and(|bound| id > bound) {
                continue;
            }
            ids.push(id);
            if ids.len() == 2 * NOTED {
                bound = Some(*ids.select_nth_unstable(NOTED - 1).1);
                ids.truncate(NOTED);
                is_last = false;
            }
        }
        ids.sort_unstable();
        if ids.len() > NOTED {
            ids.truncate(NOTED);
            is_last = false;
        }
        Self { ids: ids.into_iter(), passed: after, is_last, noted_at }
    }

    /// The next id that was noted.
    pub(super) fn next(&mut self) -> Option<OperationId> {
        let next = self.ids.next();
        self.passed = next.or(self.passed);
        next
    }
}

impl Walks {
    /// The walk that a caller left behind this id a moment ago.
    pub(super) fn go_on(&self, after: Option<OperationId>) -> Option<Walk> {
        let after = after?;
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        walks.retain(|walk| walk.noted_at.elapsed() < NOTED_FOR);
        let place = walks.iter().position(|walk| walk.passed == Some(after))?;
        walks.remove(place)
    }

    /// Keeps a walk for the next page.
    pub(super) fn keep(&self, walk: Walk) {
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if walk.ids.len() > 0 {
            walks.push_back(walk);
        }
        if walks.len() > WALKS_MAX {
            walks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;
    use crate::conformance::{executing, id};

    fn map(count: usize) -> DashMap<OperationId, Versioned> {
        let record = executing(3_000);
        (0..count as u64).map(|n| (id(n), Versioned { version: Version(n), record: record.clone() })).collect()
    }

    /// The ids in the order of a walk, and how often it passed the map.
    fn walked(records: &DashMap<OperationId, Versioned>) -> (Vec<OperationId>, usize) {
        let (mut found, mut passes, mut walk) = (Vec::new(), 1, Walk::behind(records, None));
        loop {
            match walk.next() {
                Some(id) => found.push(id),
                None if walk.is_last => return (found, passes),
                None => {
                    passes += 1;
                    walk = Walk::behind(records, walk.passed);
                }
            }
        }
    }

    #[test]
    fn a_walk_meets_each_record_once_in_few_passes() {
        for (count, passes) in [(0, 1), (1, 1), (NOTED, 1), (NOTED + 1, 2), (3 * NOTED, 3)] {
            let records = map(count);
            let mut expected: Vec<_> = records.iter().map(|slot| *slot.key()).collect();
            expected.sort_unstable();
            assert_eq!(walked(&records), (expected, passes), "{count} records");
        }
    }

    #[test]
    fn walks_go_on_where_they_were_left() {
        let (records, walks) = (map(10), Walks::default());
        let mut walk = Walk::behind(&records, None);
        let first = walk.next();
        walks.keep(walk);
        assert!(walks.go_on(None).is_none());
        assert!(walks.go_on(Some(id(77))).is_none());
        let walk = walks.go_on(first);
        assert_eq!(walk.map(|walk| walk.ids.len()), Some(9));
        assert!(walks.go_on(first).is_none(), "it is taken");
        for _ in 0..WALKS_MAX + 1 {
            walks.keep(Walk::behind(&records, None));
        }
        assert_eq!(walks.0.lock().map(|walks| walks.len()).ok(), Some(WALKS_MAX));
    }
}
