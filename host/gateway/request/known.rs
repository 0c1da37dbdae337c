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

/// The sets of places, by the principal's hash: 256 KiB.
const SETS: usize = 1 << 12;
/// The places of a set.
const PLACES: usize = 8;
/// Who stands behind so many others of its set comes to the front again.
const FRONT: usize = PLACES / 2;
/// The bits of a place that hold the caller. The other bits hold the mark of the principal.
const CALLER: u64 = (1 << 24) - 1;
/// The most credentials that are remembered.
const CREDENTIALS_MAX: usize = 1 << 13;

/// A principal in each place, the latest in front. Places without one are the last.
type Set = [AtomicU64; PLACES];

/// The known principals, in a table of fixed size. Where a set is full, one of it gives way to the next.
#[derive(Debug, Default)]
pub struct KnownPrincipals {
    sets: OnceLock<Box<[Set]>>,
    /// Held by whoever changes a set, too.
    credentials: Mutex<Credentials>,
    hash: RandomState,
}

/// Whose the credentials of known principals are.
#[derive(Debug, Default)]
struct Credentials {
    owners: HashMap<u64, Owner>,
    /// Principals that were noted so far, in a new place or in front again.
    noted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    caller: u32,
    /// When the credential was used last, in principals that were noted.
    used: u64,
}

impl KnownPrincipals {
    /// Notes that this principal's operation was done. `credentials`: hashes of what the principal is made of, and of
    /// what else tells who it is.
    pub fn note(&self, principal: &PrincipalId, credentials: impl FnOnce(&RandomState) -> Vec<u64>) {
        let (set, mark, own) = place_of(principal);
        let set = &self.sets.get_or_init(|| (0..SETS).map(|_| Set::default()).collect())[set];
        // Most stand in front already. A look shares the line with other workers, and a write doesn't.
        if find(set, mark).is_some_and(|(at, _)| at < FRONT) {
            return;
        }
        let credentials = credentials(&self.hash);
        let mut owners = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = owners.owner(&credentials, own);
        let at = find(set, mark).map_or_else(|| leaving(set, caller), |(at, _)| at);
        for at in (0..at).rev() {
            set[at + 1].store(set[at].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        set[0].store(mark | u64::from(caller), Ordering::Relaxed);
    }

    /// The caller that this principal is, if it is known.
    pub fn caller(&self, principal: &PrincipalId) -> Option<Caller> {
        let (set, mark, _) = place_of(principal);
        let set = &self.sets.get()?[set];
        // A look misses who is moved meanwhile, and nobody is moved while the lock is held.
        let again = || {
            let _held = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
            find(set, mark)
        };
        let (_, caller) = find(set, mark).or_else(again)?;
        Some(Caller(caller))
    }
}

/// The place of the principal with this mark, and its caller.
fn find(set: &Set, mark: u64) -> Option<(usize, u64)> {
    let mut places = set.iter().map(|place| place.load(Ordering::Relaxed)).enumerate();
    let (at, found) = places.find(|(_, found)| found & !CALLER == mark)?;
    Some((at, found & CALLER))
}

/// The place that a newcomer takes, whose caller this is: a free one; or that of the caller itself; or that of the caller
/// who has most of the set. The last of them, who came to the front the longest ago.
fn leaving(set: &Set, caller: u32) -> usize {
    let places = set.each_ref().map(|place| place.load(Ordering::Relaxed));
    if let Some(free) = places.iter().position(|place| *place == 0) {
        return free;
    }
    let callers = places.map(|place| place & CALLER);
    let has = |one: u64| callers.iter().filter(|other| **other == one).count();
    let own = u64::from(caller);
    let weight = |at: &usize| if callers[*at] == own { PLACES + 1 } else { has(callers[*at]) };
    (0..PLACES).max_by_key(weight).unwrap_or(PLACES - 1)
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

/// The set and the mark of a principal, and its number as a caller. Its id is a hash, whose parts are hashes.
fn place_of(principal: &PrincipalId) -> (usize, u64, u32) {
    let [a, b, c, d, e, f, g, h, x, y, ..] = principal.0;
    // An empty place has the mark zero.
    let mark = u64::from_le_bytes([0, 0, 0, a, b, c, d, e]).max(CALLER + 1);
    (usize::from(u16::from_le_bytes([x, y])) % SETS, mark, u32::from_le_bytes([f, g, h, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

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
            *part = hash.hash_one(number).to_le_bytes();
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
    }

    /// So many principals of the same set, each with credentials of its own.
    fn of_one_set(known: &KnownPrincipals, credentials: impl Iterator<Item = u64>) -> Vec<PrincipalId> {
        credentials.map(|credential| note(known, 7, &[credential])).collect()
    }

    fn are_known(known: &KnownPrincipals, principals: &[PrincipalId]) -> Vec<bool> {
        principals.iter().map(|principal| known.caller(principal).is_some()).collect()
    }

    /// In a table with one place for each, one in fifty took another's.
    #[test]
    fn twelve_hundred_are_all_known() {
        let known = KnownPrincipals::default();
        let hash = RandomState::new();
        let principals: Vec<_> = (0..1_200_u64)
            .map(|number| {
                let mut id = [0; 32];
                id.as_chunks_mut().0.iter_mut().enumerate().for_each(
                    |(part, bytes): (usize, &mut [u8; 8])| {
                        *bytes = hash.hash_one((number, part)).to_le_bytes();
                    },
                );
                PrincipalId(id)
            })
            .collect();
        for (number, principal) in (0..).zip(&principals) {
            known.note(principal, |_| vec![number]);
        }
        assert!(are_known(&known, &principals).iter().all(|is| *is));
    }

    #[test]
    fn a_full_set_forgets_who_came_longest_ago() {
        let known = KnownPrincipals::default();
        let mut all = of_one_set(&known, 0..PLACES as u64);
        assert_eq!(are_known(&known, &all), [true; PLACES]);
        // The first one comes again, and the second one is the oldest.
        known.note(&all[0], |_| vec![0]);
        all.extend(of_one_set(&known, 100..101));
        let mut expected = [true; PLACES + 1];
        expected[1] = false;
        assert_eq!(are_known(&known, &all), expected);
    }

    #[test]
    fn who_makes_up_many_pushes_out_nobody() {
        let known = KnownPrincipals::default();
        let customers = of_one_set(&known, 0..4);
        for made_up in 100..200 {
            note(&known, 7, &[99, made_up]);
        }
        assert_eq!(are_known(&known, &customers), [true; 4]);
        // A newcomer takes a place of the one who has most.
        let newcomers = of_one_set(&known, 10..13);
        assert_eq!(are_known(&known, &newcomers), [true; 3]);
        assert_eq!(are_known(&known, &customers), [true; 4]);
        // Fewer than all fit: the others of one caller are the first that go.
        let last = note(&known, 7, &[99]);
        assert!(known.caller(&last).is_some());
        assert_eq!(are_known(&known, &customers), [true; 4]);
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
