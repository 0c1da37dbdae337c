//! Principals that are known: lately they had an operation executed, and the service did it.
//!
//! The failures of others condemn no policy (`design/loading.md`), because anybody can make up credentials. Who has one
//! that the service looks at can make up others beside it, so principals that share a credential are one caller.

use oncegate_core::PrincipalId;
use oncegate_policy::Caller;
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The number of places: 256 KiB.
const PLACES: usize = 1 << 15;
/// The bits of a place that hold the caller. The other bits hold the mark of the principal.
const CALLER: u64 = (1 << 24) - 1;
/// The most credentials that are remembered.
const CREDENTIALS_MAX: usize = 1 << 13;

/// The known principals. Each has one place in a table of fixed size, and the next one with that place takes it
/// over.
#[derive(Debug, Default)]
pub struct KnownPrincipals {
    places: OnceLock<Box<[AtomicU64]>>,
    credentials: Mutex<Credentials>,
    hash: RandomState,
}

/// Whose the credentials of known principals are.
#[derive(Debug, Default)]
struct Credentials {
    owners: HashMap<u64, Owner>,
    /// Principals that became known so far.
    noted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    caller: u32,
    /// When the credential was used last, in principals that became known.
    used: u64,
}

impl KnownPrincipals {
    /// Notes that this principal's operation was done. `credentials`: hashes of what the principal is made of, and of
    /// what else tells who it is.
    pub fn note(&self, principal: &PrincipalId, credentials: impl FnOnce(&RandomState) -> Vec<u64>) {
        let (place, mark, own) = place_of(principal);
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        // Most are known already. A look shares the line with other workers, and a write doesn't.
        if places[place].load(Ordering::Relaxed) & !CALLER != mark {
            let credentials = credentials(&self.hash);
            let mut owners = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
            places[place].store(mark | u64::from(owners.owner(&credentials, own)), Ordering::Relaxed);
        }
    }

    /// The caller that this principal is, if it is known.
    pub fn caller(&self, principal: &PrincipalId) -> Option<Caller> {
        let (place, mark, _) = place_of(principal);
        let found = self.places.get()?[place].load(Ordering::Relaxed);
        (found & !CALLER == mark).then_some(Caller(found & CALLER))
    }
}

impl Credentials {
    /// The caller who has these credentials: the one who had one of them before, or else `own`.
    fn owner(&mut self, credentials: &[u64], own: u32) -> u32 {
        self.noted += 1;
        let before = credentials.iter().find_map(|credential| self.owners.get(credential));
        let caller = before.map_or(own, |owner| owner.caller);
        for credential in credentials {
            self.owners.insert(*credential, Owner { caller, used: self.noted });
        }
        if self.owners.len() > CREDENTIALS_MAX {
            let mut uses: Vec<u64> = self.owners.values().map(|owner| owner.used).collect();
            let (_, median, _) = uses.select_nth_unstable(CREDENTIALS_MAX / 2);
            let median = *median;
            self.owners.retain(|_, owner| owner.used > median);
        }
        caller
    }
}

/// The place and the mark of a principal, and its number as a caller. Its id is a hash, whose parts are hashes.
fn place_of(principal: &PrincipalId) -> (usize, u64, u32) {
    let [a, b, c, d, e, f, g, h, x, y, ..] = principal.0;
    // An empty place has the mark zero.
    let mark = u64::from_le_bytes([0, 0, 0, a, b, c, d, e]).max(CALLER + 1);
    (usize::from(u16::from_le_bytes([x, y])) % PLACES, mark, u32::from_le_bytes([f, g, h, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A principal that is known by these credentials.
    fn note(known: &KnownPrincipals, number: u32, credentials: &[u64]) -> PrincipalId {
        let principal = principal(number);
        known.note(&principal, |_| credentials.to_vec());
        principal
    }

    fn principal(number: u32) -> PrincipalId {
        let hash = RandomState::new();
        let mut id = [0; 32];
        id.as_chunks_mut().0.iter_mut().for_each(|part: &mut [u8; 8]| {
            *part = std::hash::BuildHasher::hash_one(&hash, number).to_le_bytes();
        });
        id[8] = number as u8;
        id[9] = (number >> 8) as u8;
        PrincipalId(id)
    }

    #[test]
    fn only_who_was_noted_is_known() {
        let known = KnownPrincipals::default();
        let [one, other] = [1, 2].map(|byte| PrincipalId([byte; 32]));
        assert!(known.caller(&one).is_none() && known.caller(&PrincipalId([0; 32])).is_none());
        known.note(&one, |_| vec![1]);
        assert!(known.caller(&one).is_some() && known.caller(&other).is_none());
        assert!(known.caller(&PrincipalId([0; 32])).is_none());
        // Another one with its place takes it over.
        let mut same_place = one;
        same_place.0[0] = 9;
        known.note(&same_place, |_| vec![2]);
        assert!(known.caller(&same_place).is_some() && known.caller(&one).is_none());
    }

    #[test]
    fn who_shares_a_credential_is_one_caller() {
        let known = KnownPrincipals::default();
        let callers = [
            &[1, 10][..],
            // Made up beside the one that counts, in either place, or two of them.
            &[1, 11],
            &[12, 1],
            &[13, 14, 1],
            // By what was made up.
            &[11, 2],
            // Others: with their own two, with one, with none.
            &[3, 30],
            &[4],
            &[],
            &[],
        ];
        let noted: Vec<_> = (0..).zip(callers).map(|(n, credentials)| note(&known, n, credentials)).collect();
        let found: Vec<_> =
            noted.iter().map(|principal| known.caller(principal).expect("it is known")).collect();
        assert!(found[..5].iter().all(|caller| *caller == found[0]), "{found:?}");
        let mut others = found[4..].to_vec();
        others.dedup();
        assert_eq!(others.len(), 5, "{found:?}");
    }

    /// Whoever makes up so many that others are forgotten is not forgotten.
    #[test]
    fn many_made_up_credentials_are_one_caller() {
        let known = KnownPrincipals::default();
        let first = note(&known, 0, &[1, 2]);
        let first = known.caller(&first);
        for number in 1..3 * CREDENTIALS_MAX as u32 {
            let made_up = note(&known, number, &[1, 10 + u64::from(number)]);
            assert_eq!(known.caller(&made_up), first, "{number}");
        }
        let credentials = known.credentials.lock().expect("no holder panics");
        assert!(credentials.owners.len() <= CREDENTIALS_MAX);
    }
}
