//! Drifting principals: operations that are executed again because the same request came under another
//! principal (`design/principal.md`, `principal_changed = "count"`).
//!
//! A table of fixed size remembers which principal had which operation executed lately. An operation has one
//! place in the table, and the next operation with the same place takes it over. A request takes no lock and
//! allocates nothing here, and no key and no principal can be read from the table.

use crate::request::route::Route;
use oncegate_core::{Fingerprint, OperationId, PrincipalId};
use oncegate_policy::Part;
use oncegate_policy::parts::{self, Values};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The number of places: half a mebibyte, and about as many executions until one is forgotten.
const PLACES: usize = 1 << 16;
/// The bits of a place that hold the principal. The other bits hold the key.
const PRINCIPAL: u64 = (1 << 20) - 1;
/// The log gets at most one line for each route in this time.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// The table of one gateway.
#[derive(Debug, Default)]
pub struct DriftDetector {
    /// The places, made with the first execution that counts.
    places: OnceLock<Box<[AtomicU64]>>,
    hash: RandomState,
    lines: Mutex<BTreeMap<Arc<str>, LogLine>>,
}

/// An operation and its principal, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrincipalObservation {
    place: usize,
    mark: u64,
}

/// The latest line of the log about a route.
#[derive(Debug)]
struct LogLine {
    at: Instant,
    /// The executions since that line.
    count: u64,
}

impl DriftDetector {
    /// The observation of an operation. An operation whose key is made of the body is not observed: the
    /// same body from two callers means nothing, and hashing the body once more costs time.
    pub(super) fn observation(
        &self,
        policy: &str,
        key: &[Part],
        fingerprint: &Fingerprint,
        values: &impl Values,
        principal: &PrincipalId,
    ) -> Option<PrincipalObservation> {
        let mut hasher = self.hash.build_hasher();
        // Eight bytes of the hash tell operations apart well enough here.
        let [a, b, c, d, e, f, g, h, ..] = fingerprint.hash;
        hasher.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        hasher.write(policy.as_bytes());
        if !parts::hash(key, values, &mut hasher) {
            return None;
        }
        let hash = hasher.finish();
        let [a, b, c, ..] = principal.0;
        let principal = u64::from(u32::from_le_bytes([a, b, c, 0])) & PRINCIPAL;
        Some(PrincipalObservation { place: hash as usize % PLACES, mark: (hash & !PRINCIPAL) | principal })
    }

    /// Notes that the operation is executed.
    pub fn note(&self, observation: PrincipalObservation, route: &Route, operation: OperationId) {
        if !self.is_changed(observation) {
            return;
        }
        tracing::debug!(%operation, route = %route.config.name, "executed again under another principal");
        route.metrics.principal_changed();
        if let Some(count) = self.tell(&route.config.name, Instant::now()) {
            tracing::warn!(
                route = %route.config.name,
                %operation,
                count,
                "an operation was executed again because the same key and content came under another principal; \
                 if credentials change between attempts, as tokens that are refreshed do, set `principal.from` to \
                 something of the caller that stays, or the route's `principal_changed` to \"refuse\""
            );
        }
    }

    /// Whether another principal had the operation executed last.
    fn is_changed(&self, observation: PrincipalObservation) -> bool {
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        let place = &places[observation.place];
        let before = place.load(Ordering::Relaxed);
        if before != observation.mark {
            place.store(observation.mark, Ordering::Relaxed);
        }
        before != observation.mark && before != 0 && (before ^ observation.mark) & !PRINCIPAL == 0
    }

    /// The number of executions for a line in the log now; none if the log gets no line.
    fn tell(&self, route: &Arc<str>, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = lines.get_mut(route) else {
            lines.insert(route.clone(), LogLine { at: now, count: 0 });
            return Some(1);
        };
        known.count += 1;
        if now < known.at + TELL_EVERY {
            return None;
        }
        Some(std::mem::replace(known, LogLine { at: now, count: 0 }).count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use oncegate_core::Recipe;
    use oncegate_policy::document::DocumentFormat;
    use oncegate_policy::{Attribute, Shape};
    use std::borrow::Cow;

    struct Bare;

    impl Values for Bare {
        fn attribute(&self, _: Attribute) -> &[u8] {
            b"value"
        }

        fn document(&self, _: &Shape) -> Option<(DocumentFormat, Cow<'_, [u8]>)> {
            None
        }
    }

    fn observation(
        drift: &DriftDetector,
        key: &[Part],
        content: u8,
        principal: u8,
    ) -> Option<PrincipalObservation> {
        let fingerprint = Fingerprint { recipe: Recipe::Request, hash: [content; 32] };
        drift.observation("p", key, &fingerprint, &Bare, &PrincipalId([principal; 32]))
    }

    #[test]
    fn only_another_principal_is_a_change() {
        let drift = DriftDetector::default();
        let key = |text: &str| [Part::Text(text.into())];
        let changed = |key: &[Part], content, principal| {
            drift.is_changed(observation(&drift, key, content, principal).unwrap())
        };
        assert!(!changed(&key("k"), 1, 1), "the first");
        assert!(!changed(&key("k"), 1, 1), "the same once more");
        assert!(changed(&key("k"), 1, 2));
        assert!(!changed(&key("k"), 1, 2));
        assert!(changed(&key("k"), 1, 1), "and back");
        assert!(!changed(&key("k"), 2, 2), "other content");
        assert!(!changed(&key("l"), 1, 2), "another key");
        assert!(!changed(&[Part::Of(Attribute::Path), Part::Text("k".into())], 1, 2));
    }

    #[test]
    fn keys_made_of_the_body_are_left_out() {
        let drift = DriftDetector::default();
        for part in [Part::Of(Attribute::Body), Part::Document(Shape::default())] {
            assert_eq!(observation(&drift, &[Part::Text("k".into()), part], 1, 1), None);
        }
    }

    #[test]
    fn the_log_gets_one_line_in_ten_minutes() {
        let drift = DriftDetector::default();
        let (route, other) = (Arc::from("r"), Arc::from("s"));
        let begun = Instant::now();
        assert_eq!(drift.tell(&route, begun), Some(1));
        for _ in 0..3 {
            assert_eq!(drift.tell(&route, begun), None);
        }
        assert_eq!(drift.tell(&other, begun), Some(1));
        assert_eq!(drift.tell(&route, begun + TELL_EVERY), Some(4));
        assert_eq!(drift.tell(&route, begun + TELL_EVERY), None);
    }
}
