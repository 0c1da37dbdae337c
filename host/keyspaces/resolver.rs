//! Finds the generations by which the keys of each policy are derived: the active one, and one for each other
//! space on its list.

use super::active::{ActiveSpaces, OlderGeneration, SpaceGuard, SpaceTable, Unavailable};
use super::loader::{GenerationTable, Loaded, Loader};
use super::registry::{Entered, Numbers, SpaceRegistry, SpacesError};
use oncegate_core::keyspaces::list::{Closed, Deriver, Space};
use oncegate_core::{GatewayId, KeySpaces, LostRecords, SpaceNumber};
use oncegate_store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often the lists may change between reading them and entering. More means that somebody changes them
/// all the time.
const TRIES: usize = 16;

/// Why a policy's keys can't be derived in all its key spaces.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError<E> {
    /// A list can't be used or doesn't take the space.
    #[error("{0}")]
    Spaces(#[from] SpacesError),
    /// The loader broke off.
    #[error("{0}")]
    Loader(E),
}

/// Finds the generations by which keys are derived.
#[derive(Debug)]
pub struct SpaceResolver<'a, S: Store, L> {
    /// The lists.
    pub registry: &'a SpaceRegistry<S>,
    /// Loads older generations.
    pub loader: L,
    /// What happens to records in a space whose generation can't be loaded.
    pub lost: LostRecords,
}

/// The generations and spaces by which keys are derived until now.
#[derive(Clone, Debug)]
pub struct InForce<'a, G> {
    /// The active generations.
    pub generations: &'a GenerationTable<G>,
    /// The key spaces of these generations.
    pub spaces: &'a SpaceTable<G>,
    /// The policies whose active generation stays.
    pub staying: BTreeSet<Arc<str>>,
}

/// The spaces by which keys are derived from now on.
#[derive(Debug)]
pub struct Resolved<G> {
    /// The key spaces of all policies.
    pub spaces: SpaceTable<G>,
    /// The spaces that were given up, in words.
    pub given_up: Vec<String>,
}

/// The generation that derives keys in a space, or the reason why there is none.
enum SpaceDeriver<G> {
    By(G),
    /// The space is no longer needed, or it was given up, in these words. The list has changed.
    Gone(Option<String>),
    Missing(Unavailable),
}

/// The progress of resolving, over its tries.
struct ResolveProgress<G> {
    older: BTreeMap<Arc<str>, Vec<OlderGeneration<G>>>,
    /// Policies that stay as they are, and whose own space a list doesn't take back.
    closed: BTreeMap<Arc<str>, Unavailable>,
    given_up: Vec<String>,
}

impl<S: Store, L: Loader> SpaceResolver<'_, S, L> {
    /// Puts the key spaces of all policies on the lists and loads their older generations, from the
    /// generations `in_force` where that is possible. `in_flight`: the spaces by which requests under way
    /// decide. Where a list doesn't take a space, a policy that stays as it is becomes unavailable; for
    /// a new policy that is an error.
    pub async fn resolve(
        &self,
        generations: &GenerationTable<L::Generation>,
        in_force: Option<&InForce<'_, L::Generation>>,
        in_flight: &Numbers,
    ) -> Result<Resolved<L::Generation>, ResolveError<L::Error>> {
        let deriver = |(policy, generation): (&Arc<str>, &L::Generation)| {
            (policy.clone(), self.loader.deriver(generation))
        };
        let derivers: BTreeMap<Arc<str>, Deriver> = generations.iter().map(deriver).collect();
        for (policy, generation) in generations {
            self.loader.store(policy, generation).await.map_err(ResolveError::Loader)?;
        }
        let mut progress =
            ResolveProgress { older: BTreeMap::new(), closed: BTreeMap::new(), given_up: Vec::new() };
        let mut cleared = false;
        for _ in 0..TRIES {
            let lists = self.registry.read().await?;
            let Some(unavailable) = self.load_older(&mut progress, &derivers, &lists, in_force).await? else {
                continue;
            };
            let mut derivers = derivers.clone();
            derivers.retain(|policy, _| !unavailable.contains_key(policy));
            let readable = |policy: &Arc<str>, space: &Space| {
                derivers.get(policy).is_some_and(|deriver| is_of(space, deriver))
                    || progress.has(policy, space.number)
            };
            let entered = self.registry.enter(&derivers, in_flight, readable).await;
            match entered {
                Ok(entered) => return Ok(self.entered(entered, progress, unavailable)),
                Err(SpacesError::Moved) => {}
                // Nobody may have looked for a while whether a space can leave.
                Err(SpacesError::Closed(_, Closed::Full)) if !cleared => {
                    self.registry.clear().await?;
                    cleared = true;
                }
                Err(SpacesError::Closed(policy, why))
                    if in_force.is_some_and(|in_force| in_force.staying.contains(&policy)) =>
                {
                    progress.closed.insert(policy.clone(), Unavailable::closed(&policy, &why));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(SpacesError::Moved.into())
    }

    /// The generations that last made keys in the spaces of these generations, where they differ: a start
    /// with another policy is a change, too. A generation that can't be loaded is logged and left out.
    pub async fn before(
        &self,
        generations: &GenerationTable<L::Generation>,
    ) -> Result<GenerationTable<L::Generation>, ResolveError<L::Error>> {
        let lists = self.registry.read().await?;
        let mut before = GenerationTable::new();
        for (policy, generation) in generations {
            let new = self.loader.deriver(generation);
            let Some(list) = lists.list(policy) else { continue };
            let listed = list.find_by(&new.key_schema, new.key_epoch);
            let Some(space) = listed.filter(|space| space.deriver != new) else { continue };
            match self.load(policy, &space.deriver).await? {
                Loaded::Ready(old) => _ = before.insert(policy.clone(), old),
                Loaded::Missing(why) => tracing::warn!(
                    %policy,
                    why,
                    "what made this policy's keys before can't be loaded, so that the new one can't be compared with it: \
                     that keys are as before rests on its word"
                ),
            }
        }
        Ok(before)
    }

    /// Loads the generations that derive keys in each space on the lists and aren't loaded yet. Returns the
    /// policies for which that can't be done; `None`: a list has changed by it, and has to be read again.
    async fn load_older(
        &self,
        progress: &mut ResolveProgress<L::Generation>,
        derivers: &BTreeMap<Arc<str>, Deriver>,
        lists: &KeySpaces,
        in_force: Option<&InForce<'_, L::Generation>>,
    ) -> Result<Option<BTreeMap<Arc<str>, Unavailable>>, ResolveError<L::Error>> {
        let (mut unavailable, mut moved) = (progress.closed.clone(), false);
        for (policy, deriver) in derivers {
            if progress.closed.contains_key(policy) {
                continue;
            }
            for space in lists.list(policy).map_or(&[][..], |list| &list.spaces) {
                if is_of(space, deriver) || progress.has(policy, space.number) {
                    continue;
                }
                match self.deriving(policy, space, in_force).await? {
                    SpaceDeriver::By(generation) => progress.add(policy, space.number, generation),
                    SpaceDeriver::Missing(why) => _ = unavailable.insert(policy.clone(), why),
                    SpaceDeriver::Gone(words) => {
                        progress.given_up.extend(words);
                        moved = true;
                    }
                }
            }
        }
        Ok((!moved).then_some(unavailable))
    }

    /// The generation that derives keys in this space, or why there is none.
    async fn deriving(
        &self,
        policy: &Arc<str>,
        space: &Space,
        in_force: Option<&InForce<'_, L::Generation>>,
    ) -> Result<SpaceDeriver<L::Generation>, ResolveError<L::Error>> {
        if let Some(generation) = in_force.and_then(|in_force| self.find(in_force, policy, space)) {
            return Ok(SpaceDeriver::By(generation));
        }
        let why = match self.load(policy, &space.deriver).await? {
            Loaded::Ready(generation) => return Ok(SpaceDeriver::By(generation)),
            Loaded::Missing(why) => why,
        };
        if self.registry.remove_if_empty(policy, space.number).await? {
            return Ok(SpaceDeriver::Gone(None));
        }
        let gives_up = self.lost == LostRecords::GiveUp;
        let others = match gives_up {
            true => self.registry.abandon(policy, space.number).await?,
            false => self.registry.others_deriving(policy, space.number),
        };
        if others.is_empty() && gives_up {
            let name = name_of(policy, space);
            return Ok(SpaceDeriver::Gone(Some(format!(
                "{name} is given up with its records, for what made their keys can't be loaded: {why}"
            ))));
        }
        let why = why_missing(policy, space, &others, &why);
        Ok(SpaceDeriver::Missing(Unavailable { number: Some(space.number), why: why.into() }))
    }

    async fn load(
        &self,
        policy: &Arc<str>,
        deriver: &Deriver,
    ) -> Result<Loaded<L::Generation>, ResolveError<L::Error>> {
        self.loader.load(policy, deriver).await.map_err(ResolveError::Loader)
    }

    /// The generation in force that derives the keys of this space.
    fn find(
        &self,
        in_force: &InForce<'_, L::Generation>,
        policy: &Arc<str>,
        space: &Space,
    ) -> Option<L::Generation> {
        let older = in_force.spaces.older(policy).map(|older| &older.generation);
        let mut all = in_force.generations.get(policy).into_iter().chain(older);
        all.find(|generation| is_of(space, &self.loader.deriver(generation))).cloned()
    }

    /// The table by which keys are derived now that the lists were entered.
    fn entered(
        &self,
        entered: Entered,
        mut progress: ResolveProgress<L::Generation>,
        unavailable: BTreeMap<Arc<str>, Unavailable>,
    ) -> Resolved<L::Generation> {
        let lists = self.registry.lists();
        let is_listed =
            |policy: &str, number| lists.list(policy).is_some_and(|list| list.find(number).is_some());
        let active = |(policy, number): (Arc<str>, SpaceNumber)| {
            let mut older = progress.older.remove(&policy).unwrap_or_default();
            older.retain(|one| is_listed(&policy, one.number));
            older.sort_by_key(|one| one.number);
            let guard = Arc::new(SpaceGuard { policy: policy.clone(), number });
            let version = entered.versions.get(&policy).copied().unwrap_or_default();
            (policy, ActiveSpaces { guard, older, term: entered.term, version })
        };
        let open = entered.numbers.into_iter().map(active).collect();
        Resolved { spaces: SpaceTable { open, unavailable }, given_up: progress.given_up }
    }
}

impl<G> ResolveProgress<G> {
    fn has(&self, policy: &Arc<str>, number: SpaceNumber) -> bool {
        self.older.get(policy).is_some_and(|older| older.iter().any(|one| one.number == number))
    }

    fn add(&mut self, policy: &Arc<str>, number: SpaceNumber, generation: G) {
        self.older.entry(policy.clone()).or_default().push(OlderGeneration { number, generation });
    }
}

/// Why the ledger doesn't take this deriver, if it was seen to make keys that its key space doesn't have.
pub fn refusal(lists: &KeySpaces, policy: &str, deriver: &Deriver) -> Option<Arc<str>> {
    match lists.list(policy)?.refusal(deriver)? {
        Closed::Refused(why) => Some(why),
        Closed::Full => None,
    }
}

/// Gateways as they are named to operators.
pub fn by_id(gateways: &[GatewayId]) -> String {
    gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn is_of(space: &Space, deriver: &Deriver) -> bool {
    space.deriver.key_schema == deriver.key_schema && space.deriver.key_epoch == deriver.key_epoch
}

fn name_of(policy: &str, space: &Space) -> String {
    let Deriver { key_schema, key_epoch, .. } = &space.deriver;
    let number = space.number;
    format!("policy `{policy}`: its key space {number} (key-schema {key_schema:?}, key_epoch {key_epoch})")
}

/// `others`: the other gateways that derive keys in the space.
fn why_missing(policy: &str, space: &Space, others: &[GatewayId], why: &str) -> String {
    let name = name_of(policy, space);
    if others.is_empty() {
        format!(
            "{name} still has records, and what made their keys can't be loaded: {why}. Until then its routes \
             refuse what they would guard. Put it back; or wait until these records are forgotten; or give them \
             up with `oncegate reload --accept-duplicates`"
        )
    } else {
        format!(
            "{name} is used by another gateway on this ledger ({}), and what makes its keys can't be loaded here: \
             {why}. Until then its routes refuse here what they would guard. Put it there; or reload the other \
             one with a key space that this one has, too; or stop it",
            by_id(others)
        )
    }
}
