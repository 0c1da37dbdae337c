//! The key spaces by which a policy's keys are derived: the one of its active generation and those of older
//! ones (DESIGN §6, "Changing the keys").

use crate::policy::Generation;
use oncegate_core::SpaceNumber;
use oncegate_core::keyspaces::list::Closed;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A generation of another key space on the policy's list. It derives keys and decides nothing.
#[derive(Clone, Debug)]
pub struct OlderGeneration {
    /// The number of its space.
    pub number: SpaceNumber,
    /// What makes its keys.
    pub generation: Arc<Generation>,
}

/// Who decides by a key space, for as long as somebody does: the routes of a configuration hold it, and
/// requests hold their route.
#[derive(Debug)]
pub struct SpaceGuard {
    /// The policy.
    pub policy: Arc<str>,
    /// The number of the space.
    pub number: SpaceNumber,
}

/// The key spaces of one policy, as a configuration derives keys by them.
#[derive(Clone, Debug)]
pub struct ActiveSpaces {
    /// The space by which the active generation decides.
    pub guard: Arc<SpaceGuard>,
    /// The others on the list, lowest number first.
    pub older: Vec<OlderGeneration>,
    /// In which term of the lease on the list: see [`Entered::term`](ledger::Entered::term).
    pub term: u64,
    /// The version of the list.
    pub version: u64,
}

/// The key spaces of all policies, as a configuration derives keys by them.
#[derive(Clone, Debug, Default)]
pub struct SpaceTable {
    /// By policy name.
    pub open: BTreeMap<Arc<str>, ActiveSpaces>,
    /// Policies whose keys can't be derived in one of their spaces, by name.
    pub unavailable: BTreeMap<Arc<str>, Unavailable>,
}

impl SpaceTable {
    /// A change of how keys are made began this term, in which nothing that was derived before may be
    /// sent, and these are the first of it. Those whose lease on the list broke meanwhile are not.
    pub fn begin(&mut self, term: u64) {
        let in_time = self.open.values_mut().filter(|spaces| spaces.term + 1 == term);
        in_time.for_each(|spaces| spaces.term = term);
    }
}

/// Why a policy guards nothing for now: its routes refuse what they would guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The space in which keys can't be derived; none: the list doesn't take its own.
    pub number: Option<SpaceNumber>,
    /// In words, with what would do.
    pub why: Arc<str>,
}

impl Unavailable {
    /// While it derived no keys the list has gone on, and doesn't take its own space again now.
    pub fn closed(policy: &str, why: &Closed) -> Self {
        let why = format!(
            "policy `{policy}` derived no keys for a while, and the ledger doesn't take its key space back now: {why}. \
             Until it does its routes refuse what they would guard"
        );
        Self { number: None, why: why.into() }
    }
}
