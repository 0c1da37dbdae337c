//! Operations that a policy guarded lately, kept in memory for the promise check of a reload.
//!
//! They are kept without credentials, bounded in number and size, and are gone with the process. Taking an
//! operation costs a copy, so once there are enough operations a new one is taken only now and then.

use crate::load::sample::Sample;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The most operations that are kept.
const COUNT_MAX: usize = 64;
/// Once there are as many, the time between two that are taken, in milliseconds.
const EVERY: u64 = 250;
/// An operation with a larger body isn't kept.
const BODY_BYTES_MAX: usize = 16 << 10;
/// An operation with more bytes of fields isn't kept.
const FIELD_BYTES_MAX: usize = 8 << 10;

/// The operations of one policy.
#[derive(Debug)]
pub struct Recent {
    base: Instant,
    /// The time from which the next operation is taken, in milliseconds after `base`.
    due: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { base: Instant::now(), due: AtomicU64::new(0), samples: Mutex::default() }
    }
}

impl Recent {
    /// Takes an operation if one is due at `now`. Never waits.
    pub fn offer(&self, now: Instant, sample: impl FnOnce() -> Option<Sample>) {
        let age = now.saturating_duration_since(self.base).as_millis();
        let age = u64::try_from(age).unwrap_or(u64::MAX);
        if age < self.due.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut samples) = self.samples.try_lock() else { return };
        if let Some(sample) = sample() {
            if samples.len() >= COUNT_MAX {
                samples.pop_front();
            }
            samples.push_back(sample);
        }
        if samples.len() >= COUNT_MAX {
            self.due.store(age.saturating_add(EVERY), Ordering::Relaxed);
        }
    }

    /// The operations that are kept.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Copies all fields but the `hidden` ones, so that none of the connection's buffers is held. None if there
/// are too many bytes of fields.
pub fn fields(all: &HeaderMap, hidden: impl Fn(&HeaderName) -> bool) -> Option<HeaderMap> {
    let mut copied = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in all.iter().filter(|(name, _)| !hidden(name)) {
        bytes += name.as_str().len() + value.len();
        if bytes > FIELD_BYTES_MAX {
            return None;
        }
        copied.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(copied)
}

/// Copies a body; none if it is too large.
pub fn body(whole: &Bytes) -> Option<Bytes> {
    (whole.len() <= BODY_BYTES_MAX).then(|| Bytes::copy_from_slice(whole))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::time::Duration;

    fn sample(number: usize) -> Sample {
        Sample::parse(format!("POST /{number} HTTP/1.1\r\n\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn the_latest_are_kept_and_one_is_taken_now_and_then() {
        let recent = Recent::default();
        let begun = Instant::now();
        for number in 0..100 {
            recent.offer(begun, || Some(sample(number)));
        }
        let paths = |recent: &Recent| recent.samples().iter().map(|s| s.path.clone()).collect::<Vec<_>>();
        let first: Vec<String> = (0..64).map(|number| format!("/{number}")).collect();
        assert_eq!(paths(&recent), first, "once full it takes no more for a while");
        recent.offer(begun + Duration::from_secs(1), || Some(sample(200)));
        recent.offer(begun + Duration::from_secs(1), || panic!("none is due"));
        let kept = paths(&recent);
        assert_eq!((kept.len(), kept[0].as_str(), kept[63].as_str()), (64, "/1", "/200"));
    }

    #[test]
    fn what_is_large_or_hidden_is_left_out() {
        assert!(body(&Bytes::from(vec![0; BODY_BYTES_MAX + 1])).is_none());
        let mut all = HeaderMap::new();
        all.insert("authorization", HeaderValue::from_static("Bearer x"));
        all.insert("x-a", HeaderValue::from_static("1"));
        let kept = fields(&all, |name| name == "authorization").unwrap();
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-a"]);
        all.insert("x-b", HeaderValue::from_str(&"b".repeat(FIELD_BYTES_MAX)).unwrap());
        assert!(fields(&all, |_| false).is_none());
    }
}
