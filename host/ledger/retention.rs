//! How long the routes remembered, and since when. This history decides whether an operation with a
//! first-sent time may have run and been forgotten.
//!
//! An operation that is executed at some time is remembered for the memory (retention and tombstone) that its
//! route has then. So an operation that was first sent at F, and of which there is no record, may have been
//! forgotten if it is older than the least memory in force since F. The changes are kept in the store,
//! because a restart with a longer memory must not make a ledger believe that it always had that memory.

use arc_swap::ArcSwap;
use oncegate_core::Timestamp;
use oncegate_core::record::CLOCK_TOLERANCE;
use oncegate_core::time::millis;
use oncegate_store::{Confirmed, DocumentError, Store, Swap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const DOCUMENT: &str = "memories";

/// The memory of a route from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRetention {
    /// The policy that makes the route's keys.
    pub policy: String,
    /// The route's own retention and tombstone together.
    pub memory: Duration,
}

/// The history that is in force now.
#[derive(Debug, Default)]
pub(super) struct RetentionHistory(ArcSwap<History>);

/// Routes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct History(BTreeMap<String, RouteChanges>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RouteChanges {
    policy: String,
    /// Since when (milliseconds of the later of ledger time and wall clock) and how long (milliseconds),
    /// earliest first. The first entry is taken to have been in force ever before.
    changes: Vec<(u64, u64)>,
}

impl RetentionHistory {
    /// Notes the routes' memories from `now` on, the later of ledger time and wall clock.
    pub(super) async fn note<S: Store>(
        &self,
        store: &Confirmed<S>,
        routes: &BTreeMap<String, RouteRetention>,
        now: Timestamp,
    ) -> Result<(), DocumentError> {
        loop {
            let stored = store.load_meta(DOCUMENT).await?;
            let before: History = match &stored {
                None => History::default(),
                Some((_, bytes)) => {
                    serde_json::from_slice(bytes).map_err(|_| DocumentError::Damaged(DOCUMENT))?
                }
            };
            let next = before.after(routes, now);
            if next != before {
                let bytes = serde_json::to_vec(&next).map_err(|_| DocumentError::Damaged(DOCUMENT))?;
                let expected = stored.map(|(version, _)| version);
                if let Swap::Conflict(_) = store.swap_meta(DOCUMENT, expected, bytes.into()).await? {
                    continue;
                }
            }
            self.0.store(next.into());
            return Ok(());
        }
    }

    /// The least memory that was in force on this route of this policy since `first_sent`; `None` where
    /// neither is known.
    pub(super) fn least(&self, place: (&str, &str), first_sent: Timestamp) -> Option<Duration> {
        self.0.load().least(place, first_sent)
    }
}

impl History {
    /// The history with the memories of `routes` from `now` on.
    fn after(&self, routes: &BTreeMap<String, RouteRetention>, now: Timestamp) -> Self {
        let mut next = self.clone();
        for (name, route) in routes {
            let memory = millis(route.memory);
            let changes = match next.0.remove(name) {
                Some(known) if known.policy == route.policy => known.changes,
                // A route that is new, or has another name, may meet operations that took another route
                // before: its policy's keys are the same.
                Some(_) | None => {
                    let least = self.of_policy(&route.policy).min().unwrap_or(memory);
                    vec![(0, least.min(memory))]
                }
            };
            let changes = pruned(changed(changes, memory, now), now);
            next.0.insert(name.clone(), RouteChanges { policy: route.policy.clone(), changes });
        }
        next
    }

    fn of_policy<'a>(&'a self, policy: &'a str) -> impl Iterator<Item = u64> + 'a {
        let same = self.0.values().filter(move |changes| changes.policy == policy);
        same.flat_map(|changes| changes.changes.iter().map(|(_, memory)| *memory))
    }

    /// The least memory in force since `first_sent`. Where the route is not known with this policy, it is the
    /// least that the policy ever had; `None`: it never had any.
    fn least(&self, (route, policy): (&str, &str), first_sent: Timestamp) -> Option<Duration> {
        let Some(RouteChanges { changes, .. }) = self.0.get(route).filter(|known| known.policy == policy)
        else {
            return self.of_policy(policy).min().map(Duration::from_millis);
        };
        // A client's clock may be ahead of ours.
        let from = first_sent.minus(CLOCK_TOLERANCE).as_millis();
        let ended = |i: usize| changes.get(i + 1).is_some_and(|(until, _)| *until <= from);
        let in_force = changes.iter().enumerate().filter(|(i, _)| !ended(*i));
        in_force.map(|(_, (_, memory))| Duration::from_millis(*memory)).min()
    }
}

fn changed(mut changes: Vec<(u64, u64)>, memory: u64, now: Timestamp) -> Vec<(u64, u64)> {
    if changes.last().is_none_or(|(_, last)| *last != memory) {
        // Changes come in order, whatever the clocks did.
        let since = changes.last().map_or(0, |(since, _)| now.as_millis().max(*since));
        changes.push((since, memory));
    }
    changes
}

/// The changes without those that no operation is young enough for: an operation first sent before a change
/// is already too late by a later memory.
fn pruned(mut changes: Vec<(u64, u64)>, now: Timestamp) -> Vec<(u64, u64)> {
    let tolerance = 2 * millis(CLOCK_TOLERANCE);
    while let [_, (until, _), ..] = &changes[..] {
        let later = changes[1..].iter().map(|(_, memory)| *memory).min().unwrap_or(0);
        if until.saturating_add(later).saturating_add(tolerance) >= now.as_millis() {
            break;
        }
        changes.remove(0);
    }
    changes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::{Clock, Ledger};
    use oncegate_store::Memory;
    use oncegate_store::conformance::on_a_runtime;

    const HOUR: u64 = 3_600;

    fn route(hours: u64) -> BTreeMap<String, RouteRetention> {
        named("charges", hours)
    }

    fn named(name: &str, hours: u64) -> BTreeMap<String, RouteRetention> {
        let memory = Duration::from_secs(hours * HOUR);
        [(name.to_owned(), RouteRetention { policy: "keys".into(), memory })].into()
    }

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + hours * HOUR)
    }

    #[track_caller]
    fn least(history: &History, name: &str, sent: Timestamp, hours: u64) {
        assert_eq!(history.least((name, "keys"), sent), Some(Duration::from_secs(hours * HOUR)));
    }

    #[test]
    fn what_was_sent_before_a_longer_memory_came_is_held_against_the_shorter() {
        let history = History::default().after(&route(2), at(0)).after(&route(48), at(10));
        least(&history, "charges", at(9), 2);
        least(&history, "charges", at(11), 48);
        // The other way round, the operation may have run under the shorter memory.
        let history = history.after(&route(1), at(20));
        least(&history, "charges", at(11), 1);
        least(&history, "charges", at(21), 1);
        least(&history, "others", at(21), 1);
        assert_eq!(history.least(("charges", "others"), at(0)), None);
    }

    #[test]
    fn the_same_again_is_no_change_and_old_changes_go() {
        let once = History::default().after(&route(2), at(0));
        assert_eq!(once.after(&route(2), at(5)), once);
        let longer = once.after(&route(48), at(10));
        assert_eq!(longer.0["charges"].changes.len(), 2);
        assert_eq!(longer.after(&route(48), at(50)), longer, "one sent at 9 h is not too late by 48 h");
        let pruned = longer.after(&route(48), at(59));
        assert_eq!(pruned.0["charges"].changes.len(), 1);
        least(&pruned, "charges", at(12), 48);
        // The history stays short however often the memory changes.
        let mut history = History::default();
        for n in 0..1_000 {
            history = history.after(&route(1 + n % 2), at(n));
        }
        assert!(history.0["charges"].changes.len() < 6, "{history:?}");
    }

    #[test]
    fn a_route_under_a_new_name_knows_what_its_policys_keys_were_remembered_for() {
        let history = History::default().after(&named("old", 1), at(0)).after(&named("new", 48), at(10));
        least(&history, "new", at(9), 1);
        least(&history, "new", at(11), 48);
    }

    #[test]
    fn it_is_there_after_a_restart() {
        let store = Memory::new(1 << 20);
        on_a_runtime(async {
            let (ledger, _keeper) = Ledger::new(store, Clock::start(Timestamp::default()), None);
            ledger.remember(&route(1)).await.unwrap();
            ledger.remember(&route(48)).await.unwrap();
            // The history is read as another process would find it.
            ledger.retention.0.store(History::default().into());
            ledger.remember(&route(48)).await.unwrap();
            let now = ledger.clock().latest();
            let own = Duration::from_secs(48 * HOUR);
            let since =
                ledger.remembered_since(("charges", "keys"), own, now.minus(Duration::from_secs(60)), now);
            assert_eq!(now.since(since), Duration::from_secs(HOUR));
        });
    }
}
