//! Listings of all records of a map that has no order, in the order of their ids.
//!
//! A listing passes the whole map, and notes the ids that come next in the order. They are enough for many pages.

use super::verbs::Versioned;
use dashmap::DashMap;
use oncegate_core::OperationId;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many ids one pass notes at least: half a mebibyte.
const NOTED_MIN: usize = 1 << 14;
/// A pass of a large map notes more, so that about so many passes list it, however large it is.
const PASSES: usize = 16;
/// More callers that go from page to page at once make each other pass the map more often.
const LISTINGS_MAX: usize = 4;
/// What was noted is not gone by later: a record may have come.
const NOTED_FOR: Duration = Duration::from_secs(1);

/// The listings that are under way.
#[derive(Default)]
pub(super) struct Listings(Mutex<VecDeque<Listing>>);

/// The ids that come next on one listing.
pub(super) struct Listing {
    ids: std::vec::IntoIter<OperationId>,
    /// The last id that was passed.
    pub(super) passed: Option<OperationId>,
    /// No id comes behind the noted ones.
    pub(super) is_last: bool,
    noted_at: Instant,
}

impl Listing {
    /// Passes the map, and notes the first ids behind `after`.
    pub(super) fn behind<H: BuildHasher + Clone>(
        records: &DashMap<OperationId, Versioned, H>,
        after: Option<OperationId>,
    ) -> Self {
        let noted_at = Instant::now();
        let noted = noted_of(records.len());
        let (mut ids, mut bound, mut is_last) = (Vec::new(), None, true);
        for slot in records {
            let id = *slot.key();
            if after.is_some_and(|after| id <= after) || bound.is_some_and(|bound| id > bound) {
                continue;
            }
            ids.push(id);
            if ids.len() == 2 * noted {
                bound = Some(*ids.select_nth_unstable(noted - 1).1);
                ids.truncate(noted);
                is_last = false;
            }
        }
        ids.sort_unstable();
        if ids.len() > noted {
            ids.truncate(noted);
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

/// How many ids a pass of a map of this size notes.
fn noted_of(records: usize) -> usize {
    NOTED_MIN.max(records.div_ceil(PASSES))
}

impl Listings {
    /// The listing that a caller left behind this id a moment ago.
    pub(super) fn go_on(&self, after: Option<OperationId>) -> Option<Listing> {
        let after = after?;
        let mut listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listings.retain(|listing| listing.noted_at.elapsed() < NOTED_FOR);
        let place = listings.iter().position(|listing| listing.passed == Some(after))?;
        listings.remove(place)
    }

    /// Keeps a listing for the next page.
    pub(super) fn keep(&self, listing: Listing) {
        let mut listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listing.ids.len() > 0 {
            listings.push_back(listing);
        }
        if listings.len() > LISTINGS_MAX {
            listings.pop_front();
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
        (0..count as u64)
            .map(|n| (id(n), Versioned { version: Version(n), record: record.clone() }))
            .collect()
    }

    /// The ids in the order of a listing, and how often it passed the map.
    fn listed(records: &DashMap<OperationId, Versioned>) -> (Vec<OperationId>, usize) {
        let (mut found, mut passes, mut listing) = (Vec::new(), 1, Listing::behind(records, None));
        loop {
            match listing.next() {
                Some(id) => found.push(id),
                None if listing.is_last => return (found, passes),
                None => {
                    passes += 1;
                    listing = Listing::behind(records, listing.passed);
                }
            }
        }
    }

    #[test]
    fn a_listing_meets_each_record_once_in_few_passes() {
        for (count, passes) in [(0, 1), (1, 1), (NOTED_MIN, 1), (NOTED_MIN + 1, 2), (3 * NOTED_MIN, 3)] {
            let records = map(count);
            let mut expected: Vec<_> = records.iter().map(|slot| *slot.key()).collect();
            expected.sort_unstable();
            assert_eq!(listed(&records), (expected, passes), "{count} records");
        }
    }

    #[test]
    fn a_large_map_is_listed_in_few_passes() {
        for records in [PASSES * NOTED_MIN, PASSES * NOTED_MIN + 1, 1_000_000, 10_000_000, 1 << 40] {
            assert_eq!(records.div_ceil(noted_of(records)), PASSES, "{records}");
        }
    }

    #[test]
    fn listings_go_on_where_they_were_left() {
        let (records, listings) = (map(10), Listings::default());
        let mut listing = Listing::behind(&records, None);
        let first = listing.next();
        listings.keep(listing);
        assert!(listings.go_on(None).is_none());
        assert!(listings.go_on(Some(id(77))).is_none());
        let listing = listings.go_on(first);
        assert_eq!(listing.map(|listing| listing.ids.len()), Some(9));
        assert!(listings.go_on(first).is_none(), "it is taken");
        for _ in 0..LISTINGS_MAX + 1 {
            listings.keep(Listing::behind(&records, None));
        }
        assert_eq!(listings.0.lock().map(|listings| listings.len()).ok(), Some(LISTINGS_MAX));
    }
}
