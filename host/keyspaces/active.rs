//! The active key spaces of a policy, by which its keys are derived: the space of its active generation and
//! those of older generations (`design/key-changes.md`).

use super::registry::{Numbers, SpaceRegistry};
use oncegate_core::SpaceNumber;
use oncegate_core::keyspaces::list::Closed;
use oncegate_store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A generation of another key space on the policy's list. It derives keys and decides nothing.
#[derive(Clone, Debug)]
pub struct OlderGeneration<G> {
    /// The number of the generation's space.
    pub number: SpaceNumber,
    /// The generation that derives the keys there.
    pub generation: G,
}

/// A counted use of a key space. A user that decides by the space holds a guard for as long as it does. The
/// routes of an active configuration hold it, and requests hold their route.
#[derive(Debug)]
pub struct SpaceGuard {
    /// The policy.
    pub policy: Arc<str>,
    /// The number of the space.
    pub number: SpaceNumber,
}

/// All space guards of this gateway.
#[derive(Debug, Default)]
pub struct SpaceGuards(Mutex<Vec<Weak<SpaceGuard>>>);

/// The active key spaces of one policy: those by which its keys are derived.
#[derive(Clone, Debug)]
pub struct ActiveSpaces<G> {
    /// The space by which the active generation decides.
    pub guard: Arc<SpaceGuard>,
    /// The other spaces on the list, lowest number first.
    pub older: Vec<OlderGeneration<G>>,
    /// The term of the lease on the lists: see [`Entered::term`](super::Entered::term).
    pub term: u64,
    /// The version of the list.
    pub version: u64,
}

/// The key spaces of all policies by which keys are derived.
#[derive(Clone, Debug)]
pub struct SpaceTable<G> {
    /// Active spaces by policy name.
    pub open: BTreeMap<Arc<str>, ActiveSpaces<G>>,
    /// Policies whose keys can't be derived in one of their spaces, by name.
    pub unavailable: BTreeMap<Arc<str>, Unavailable>,
}

/// Why a policy guards nothing for now. Its routes refuse the requests that they would guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The space in which keys can't be derived; `None`: the list doesn't take the policy's own space.
    pub number: Option<SpaceNumber>,
    /// The reason in words, with the next step.
    pub why: Arc<str>,
}

impl SpaceGuards {
    /// Counts the users that decide by this table from now on.
    pub fn note<G>(&self, table: &SpaceTable<G>) {
        let mut guards = self.all();
        guards.retain(|guard| guard.strong_count() > 0);
        guards.extend(table.open.values().map(|spaces| Arc::downgrade(&spaces.guard)));
    }

    /// The key spaces by which the active configuration and requests in flight decide.
    pub fn deciding(&self) -> Numbers {
        let mut deciding = Numbers::new();
        for guard in self.all().iter().filter_map(Weak::upgrade) {
            deciding.entry(guard.policy.clone()).or_default().insert(guard.number);
        }
        deciding
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<SpaceGuard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G> Default for SpaceTable<G> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), unavailable: BTreeMap::new() }
    }
}

impl<G> SpaceTable<G> {
    /// The older generations of a policy, lowest number of their spaces first.
    pub fn older(&self, policy: &str) -> impl DoubleEndedIterator<Item = &OlderGeneration<G>> {
        self.open.get(policy).into_iter().flat_map(|spaces| &spaces.older)
    }

    /// A change of how keys are made began this term. Nothing that was derived before may be sent, and keys
    /// that this table derives are the first of the term. Policies whose lease on the lists broke meanwhile
    /// stay in their old term.
    pub fn begin(&mut self, term: u64) {
        let in_time = self.open.values_mut().filter(|spaces| spaces.term + 1 == term);
        in_time.for_each(|spaces| spaces.term = term);
    }

    /// Whether the table's keys are derived by the present lists and may be sent. Unavailable policies derive
    /// none.
    pub fn is_up_to_date<S: Store>(&self, registry: &SpaceRegistry<S>) -> bool {
        let (lists, term) = (registry.lists(), registry.term());
        let is_listed =
            |policy: &str, number| lists.list(policy).is_some_and(|list| list.find(number).is_some());
        let is_current = |(policy, spaces): (&Arc<str>, &ActiveSpaces<G>)| {
            spaces.term == term && lists.list(policy).is_some_and(|list| list.version == spaces.version)
        };
        let mut unavailable = self.unavailable.iter();
        // A policy's reason for guarding nothing is over when its space has left.
        unavailable.all(|(policy, why)| why.number.is_none_or(|number| is_listed(policy, number)))
            && self.open.iter().all(is_current)
    }

    /// Logs the policies that guard nothing from now on, and those that guard again, where `before` was
    /// active.
    pub fn log_changes(&self, before: &Self) {
        for (policy, unavailable) in &self.unavailable {
            if before.unavailable.get(policy).is_none_or(|known| known.why != unavailable.why) {
                tracing::error!(space = unavailable.number.map(|number| number.0), "{}", unavailable.why);
            }
        }
        for policy in before.unavailable.keys().filter(|policy| !self.unavailable.contains_key(*policy)) {
            tracing::info!(%policy, "keys can be derived in all key spaces again: the policy guards its routes");
        }
    }
}

impl Unavailable {
    /// The policy derived no keys for a while. Its list changed meanwhile, and doesn't take its own space
    /// again now.
    pub fn closed(policy: &str, why: &Closed) -> Self {
        let why = format!(
            "policy `{policy}` derived no keys for a while, and the ledger doesn't take its key space back now: {why}. \
             Until it does its routes refuse what they would guard"
        );
        Self { number: None, why: why.into() }
    }
}
