//! The open client connections, and which of them are idle (`design/edge.md`).

use super::activity::Activity;
use oncegate_config::Limits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// One search among all connections finds so many that may give way.
const FOUND_AT_ONCE: usize = 64;
/// What was found is looked for anew after this long.
const FOUND_LASTS: Duration = Duration::from_secs(1);
/// After a search in vain there is none for this long. A crowd that comes meanwhile is turned away at once.
const SEARCH_AGAIN: Duration = Duration::from_millis(20);

/// The client connections of all workers.
#[derive(Debug, Default)]
pub(super) struct OpenConnections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: Vec<Weak<Activity>>,
    /// Those that had no request for longest when they were searched for, the longest at the end.
    quiet: Vec<Weak<Activity>>,
    searched: Option<Instant>,
    /// Nothing was found.
    is_in_vain: bool,
}

impl OpenConnections {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, activity: &Arc<Activity>) {
        self.open().all.push(Arc::downgrade(activity));
    }

    /// Closes connections that are overdue.
    pub(super) fn close_overdue(&self, limits: &Limits) {
        self.open().all.retain(|activity| {
            let Some(activity) = activity.upgrade() else { return false };
            if activity.is_overdue(limits) {
                activity.close.notify_one();
            }
            true
        });
    }

    /// Closes the connection that has had no request for longest. False: each has one, or had one a moment ago.
    pub(super) fn make_room(&self) -> bool {
        let (mut open, now) = (self.open(), Instant::now());
        if !open.searched_within(FOUND_LASTS, now) {
            open.quiet.clear();
        }
        open.give_way() || (open.search(now) && open.give_way())
    }
}

impl Open {
    fn give_way(&mut self) -> bool {
        while let Some(longest) = self.quiet.pop() {
            if longest.upgrade().is_some_and(|activity| activity.give_way()) {
                return true;
            }
        }
        false
    }

    fn searched_within(&self, time: Duration, now: Instant) -> bool {
        self.searched.is_some_and(|at| now < at + time)
    }

    fn search(&mut self, now: Instant) -> bool {
        if self.is_in_vain && self.searched_within(SEARCH_AGAIN, now) {
            return false;
        }
        let quiet = |activity: &Weak<Activity>| Some((activity.upgrade()?.may_give_way()?, activity.clone()));
        let mut found: Vec<_> = self.all.iter().filter_map(quiet).collect();
        found.sort_by_key(|(quiet, _)| *quiet);
        let longest = found.len().saturating_sub(FOUND_AT_ONCE);
        self.quiet = found.drain(longest..).map(|(_, activity)| activity).collect();
        (self.searched, self.is_in_vain) = (Some(now), self.quiet.is_empty());
        !self.is_in_vain
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Busy;
    use super::super::budget::BodyBudget;
    use super::*;

    /// Connections that had no request for these times, in seconds.
    fn quiet_for<const N: usize>(open: &OpenConnections, seconds: [u64; N]) -> [Arc<Activity>; N] {
        let peer = Arc::new(BodyBudget::new(0)).own_account();
        seconds.map(|seconds| {
            let activity = Arc::new(Activity::quiet_for(peer.clone(), Duration::from_secs(seconds)));
            open.add(&activity);
            activity
        })
    }

    #[test]
    fn the_one_quiet_for_longest_gives_way() {
        let open = OpenConnections::default();
        let [short, longest, long, just, busy] = quiet_for(&open, [3, 9, 5, 0, 20]);
        let request = Busy::new(&busy);
        for gone in [&longest, &long, &short] {
            assert!(gone.may_give_way().is_some());
            assert!(open.make_room());
            assert!(gone.may_give_way().is_none());
        }
        assert!(!open.make_room(), "one was used just now, one is busy");
        drop((just, request));
    }

    #[test]
    fn whoever_asks_meanwhile_stays() {
        let open = OpenConnections::default();
        let [first, second, third] = quiet_for(&open, [9, 8, 7]);
        assert!(open.make_room());
        let requests = [Busy::new(&first), Busy::new(&second)];
        assert!(first.goes_on(), "it was told to close, and a request came");
        assert!(open.make_room(), "the third");
        assert!(!third.goes_on() && second.may_give_way().is_none());
        drop(requests);
    }

    #[test]
    fn one_search_finds_many() {
        let open = OpenConnections::default();
        let many: Vec<_> = (2..202).map(|seconds| quiet_for(&open, [seconds])).collect();
        assert!((0..many.len()).all(|_| open.make_room()));
        assert!(!open.make_room());
        let _one_more = quiet_for(&open, [9]);
        eventually(|| open.make_room());
    }

    fn eventually(mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
    }
}
