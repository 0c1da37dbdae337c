//! Principals that are known: lately they had an operation executed, and the service did it.
//!
//! The failures of others condemn no policy (`design/loading.md`), because anybody can make up credentials.

use oncegate_core::PrincipalId;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of places: 32 KiB.
const PLACES: usize = 1 << 12;

/// The known principals. Each has one place in a table of fixed size, and the next one with that place takes it
/// over.
#[derive(Debug, Default)]
pub struct KnownPrincipals(OnceLock<Box<[AtomicU64]>>);

impl KnownPrincipals {
    /// Notes that this principal's operation was done.
    pub fn note(&self, principal: &PrincipalId) {
        let (place, mark) = place_of(principal);
        let places = self.0.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        // Most are known already. A look shares the line with other workers, and a write doesn't.
        if places[place].load(Ordering::Relaxed) != mark {
            places[place].store(mark, Ordering::Relaxed);
        }
    }

    /// Whether this principal is known.
    pub fn has(&self, principal: &PrincipalId) -> bool {
        let (place, mark) = place_of(principal);
        self.0.get().is_some_and(|places| places[place].load(Ordering::Relaxed) == mark)
    }
}

/// The place and the mark of a principal. Its id is a hash, whose parts are hashes.
fn place_of(principal: &PrincipalId) -> (usize, u64) {
    let [a, b, c, d, e, f, g, h, x, y, ..] = principal.0;
    // An empty place has the mark zero.
    (usize::from(u16::from_le_bytes([x, y])) % PLACES, u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_noted_is_known() {
        let known = KnownPrincipals::default();
        let [one, other] = [1, 2].map(|byte| PrincipalId([byte; 32]));
        assert!(!known.has(&one) && !known.has(&PrincipalId([0; 32])));
        known.note(&one);
        assert!(known.has(&one) && !known.has(&other) && !known.has(&PrincipalId([0; 32])));
        // Another one with its place takes it over.
        let mut same_place = one;
        same_place.0[0] = 9;
        known.note(&same_place);
        assert!(known.has(&same_place) && !known.has(&one));
    }
}
