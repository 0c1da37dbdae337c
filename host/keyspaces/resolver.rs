//! Which generations derive a policy's keys: what is active, and what is loaded for the other spaces on its
//! list.

use super::active::{ActiveSpaces, OlderGeneration, SpaceGuard, SpaceTable, Unavailable};
use super::archive::{Archive, deriver};
use crate::config::Config;
use crate::gateway::ActiveConfig;
use crate::ledger::{Ledger, Numbers, SpacesError, by_id};
use crate::policy::{Engine, Generation, Generations, LoadError};
use oncegate_core::keyspaces::list::{Closed, Deriver, Space};
use oncegate_core::{KeySpaces, SpaceNumber};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The lists changed this often between reading them and entering: somebody changes them all the time.
const TRIES: usize = 16;

/// Why a policy's keys can't be derived in all its key spaces.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The list can't be used or doesn't take the space.
    #[error("{0}")]
    Spaces(#[from] SpacesError),
    /// What makes the keys can't be kept.
    #[error("what makes the keys of policy `{0}` can't be kept for later restarts in {1}: {2}")]
    Keep(Arc<str>, PathBuf, io::Error),
    /// A thread of the loading died.
    #[error("the loading broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Why the ledger doesn't take this generation, if it was seen to make other keys than its key space has.
pub fn refusal(spaces: &KeySpaces, policy: &str, generation: &Generation) -> Option<Arc<str>> {
    match spaces.list(policy)?.refusal(&deriver(generation))? {
        Closed::Refused(why) => Some(why),
        Closed::Full => None,
    }
}

/// What lining up needs.
#[derive(Debug)]
pub struct SpaceResolver<'a> {
    /// The ledger.
    pub ledger: &'a Ledger,
    /// Loads older generations.
    pub engine: &'a Arc<Engine>,
    /// Where they are kept.
    pub archive: &'a Archive,
    /// Records in a space whose deriver can't be loaded may be given up.
    pub accept_duplicates: bool,
}

/// What came of lining up.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The policies with their key spaces.
    pub spaces: SpaceTable,
    /// What was given up, in words.
    pub given_up: Vec<String>,
}

/// What derives keys in a space, or why nothing does.
enum Reading {
    Loaded(OlderGeneration),
    /// Nothing needs it any more, or it was given up, in these words. The list has changed.
    Gone(Option<String>),
    Missing(Unavailable),
}

impl SpaceResolver<'_> {
    /// Puts the key spaces of all policies on the ledger's lists and loads their older generations, from what is
    /// `active` already where that is possible. `in_flight`: what requests under way decide by. A policy
    /// that is active already and whose space the list doesn't take any more guards nothing; a new one is refused.
    pub async fn resolve(
        &self,
        config: &Config,
        generations: &Generations,
        active: Option<&ActiveConfig>,
        in_flight: &Numbers,
    ) -> Result<Resolved, ResolveError> {
        let derivers: BTreeMap<Arc<str>, Deriver> =
            generations.iter().map(|(name, generation)| (name.clone(), deriver(generation))).collect();
        self.keep(config, generations).await?;
        let mut loaded: BTreeMap<Arc<str>, Vec<OlderGeneration>> = BTreeMap::new();
        let (mut given_up, mut closed) = (Vec::new(), BTreeMap::new());
        for _ in 0..TRIES {
            let spaces = self.ledger.read_spaces().await?;
            let (mut unavailable, mut moved) = (closed.clone(), false);
            for (policy, deriver) in derivers.iter().filter(|(policy, _)| !closed.contains_key(*policy)) {
                let older = loaded.entry(policy.clone()).or_default();
                for space in spaces.list(policy).map_or(&[][..], |list| &list.spaces) {
                    if is_of(space, deriver) || older.iter().any(|one| one.number == space.number) {
                        continue;
                    }
                    match self.older_generation(config, policy, space, active).await? {
                        Reading::Loaded(one) => older.push(one),
                        Reading::Missing(why) => _ = unavailable.insert(policy.clone(), why),
                        Reading::Gone(words) => {
                            given_up.extend(words);
                            moved = true;
                        }
                    }
                }
            }
            if moved {
                continue;
            }
            let mut derivers = derivers.clone();
            derivers.retain(|policy, _| !unavailable.contains_key(policy));
            let readable = |policy: &Arc<str>, space: &Space| {
                let own = derivers.get(policy).is_some_and(|deriver| is_of(space, deriver));
                own || loaded.get(policy).is_some_and(|all| all.iter().any(|r| r.number == space.number))
            };
            let entered = match self.ledger.enter_spaces(&derivers, in_flight, readable).await {
                Err(SpacesError::Moved) => continue,
                Err(SpacesError::Closed(policy, why)) if is_active(active, generations, &policy) => {
                    closed.insert(policy.clone(), Unavailable::closed(&policy, &why));
                    continue;
                }
                entered => entered?,
            };
            let listed = self.ledger.spaces();
            let on_list = |policy: &str, older: &OlderGeneration| {
                listed.list(policy).is_some_and(|list| list.find(older.number).is_some())
            };
            let active = |(policy, number): (Arc<str>, SpaceNumber)| {
                let mut older = loaded.remove(&policy).unwrap_or_default();
                older.retain(|older| on_list(&policy, older));
                older.sort_by_key(|older| older.number);
                let guard = Arc::new(SpaceGuard { policy: policy.clone(), number });
                let version = entered.versions.get(&policy).copied().unwrap_or_default();
                (policy, ActiveSpaces { guard, older, term: entered.term, version })
            };
            let open = entered.numbers.into_iter().map(active).collect();
            return Ok(Resolved { spaces: SpaceTable { open, unavailable }, given_up });
        }
        Err(SpacesError::Moved.into())
    }

    /// What made keys last in the spaces of these generations, where that was something else: a start
    /// with another policy is a change, too. What can't be loaded is told and left out.
    pub async fn before(
        &self,
        config: &Config,
        generations: &Generations,
    ) -> Result<Generations, ResolveError> {
        let spaces = self.ledger.read_spaces().await?;
        let mut before = Generations::new();
        for (policy, generation) in generations {
            let new = deriver(generation);
            let Some(list) = spaces.list(policy) else { continue };
            let listed = list.find_by(&new.key_schema, new.key_epoch);
            let Some(space) = listed.filter(|space| space.deriver != new) else { continue };
            match self.load(config, policy, &space.deriver).await? {
                Ok(old) => _ = before.insert(policy.clone(), old),
                Err(why) => tracing::warn!(
                    %policy,
                    why,
                    "what made this policy's keys before can't be loaded, so that the new one can't be compared with it: \
                     that keys are as before rests on its word"
                ),
            }
        }
        Ok(before)
    }

    async fn keep(&self, config: &Config, generations: &Generations) -> Result<(), ResolveError> {
        for (name, generation) in generations {
            let Some(policy) = config.policies.get(name) else { continue };
            let (archive, source) = (self.archive.clone(), policy.component.clone());
            let generation = generation.clone();
            let kept = tokio::task::spawn_blocking(move || archive.keep(&source, &generation)).await?;
            kept.map_err(|error| ResolveError::Keep(name.clone(), self.archive.folder(), error))?;
        }
        Ok(())
    }

    /// What derives keys in this space.
    async fn older_generation(
        &self,
        config: &Config,
        policy: &Arc<str>,
        space: &Space,
        active: Option<&ActiveConfig>,
    ) -> Result<Reading, ResolveError> {
        let number = space.number;
        if let Some(generation) = active.and_then(|active| find(active, policy, space)) {
            return Ok(Reading::Loaded(OlderGeneration { number, generation }));
        }
        let why = match self.load(config, policy, &space.deriver).await? {
            Ok(generation) => return Ok(Reading::Loaded(OlderGeneration { number, generation })),
            Err(why) => why,
        };
        let Deriver { key_schema, key_epoch, .. } = &space.deriver;
        let name = format!(
            "policy `{policy}`: its key space {number} (key-schema {key_schema:?}, key_epoch {key_epoch})"
        );
        if self.ledger.leave_if_empty(policy, number).await? {
            return Ok(Reading::Gone(None));
        }
        let others = match self.accept_duplicates {
            true => self.ledger.abandon_space(policy, number).await?,
            false => self.ledger.others_deriving(policy, number),
        };
        if others.is_empty() && self.accept_duplicates {
            return Ok(Reading::Gone(Some(format!(
                "{name} is given up with its records, for what made their keys can't be loaded: {why}"
            ))));
        }
        let why = if others.is_empty() {
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
                by_id(&others)
            )
        };
        Ok(Reading::Missing(Unavailable { number: Some(number), why: why.into() }))
    }

    /// What derives keys in the space of this deriver, from where that is kept; or why it can't be loaded.
    pub async fn load(
        &self,
        config: &Config,
        policy: &Arc<str>,
        deriver: &Deriver,
    ) -> Result<Result<Arc<Generation>, String>, ResolveError> {
        let Some(like) = config.policies.get(policy).cloned() else {
            return Ok(Err("the policy is not in the configuration".into()));
        };
        let (archive, engine, deriver) = (self.archive.clone(), self.engine.clone(), deriver.clone());
        let load = move || {
            let policy = archive.policy(&deriver, &like)?;
            let generation = engine.load(&policy).map_err(|error: LoadError| error.to_string())?;
            match generation.plan().key_schema == deriver.key_schema {
                true => Ok(generation),
                false => Err(format!("it now has the key-schema {:?}", generation.plan().key_schema)),
            }
        };
        Ok(tokio::task::spawn_blocking(load).await?)
    }
}

/// Whether the policy stays as it is.
fn is_active(active: Option<&ActiveConfig>, generations: &Generations, policy: &str) -> bool {
    let number = |all: &Generations| all.get(policy).map(|generation| generation.number());
    active.is_some_and(|active| number(&active.generations) == number(generations))
}

fn is_of(space: &Space, deriver: &Deriver) -> bool {
    space.deriver.key_schema == deriver.key_schema && space.deriver.key_epoch == deriver.key_epoch
}

/// What is active already and makes the keys of this space.
fn find(active: &ActiveConfig, policy: &Arc<str>, space: &Space) -> Option<Arc<Generation>> {
    let older = active.spaces.open.get(policy).into_iter().flat_map(|spaces| &spaces.older);
    let all = active.generations.get(policy).into_iter().chain(older.map(|older| &older.generation));
    all.into_iter().find(|generation| is_of(space, &deriver(generation))).cloned()
}

/// Whether a configuration derives keys by the lists as they are, as far as it derives any, and may send what
/// it derives.
pub fn is_up_to_date(active: &ActiveConfig, ledger: &Ledger) -> bool {
    let (lists, term) = (ledger.spaces(), ledger.list_term());
    let is_listed = |policy: &str, number| lists.list(policy).is_some_and(|list| list.find(number).is_some());
    let mut unavailable = active.spaces.unavailable.iter();
    // Why a policy guards nothing is over when its space has left.
    unavailable.all(|(policy, unavailable)| unavailable.number.is_none_or(|number| is_listed(policy, number)))
        && active.spaces.open.iter().all(|(policy, spaces)| {
            spaces.term == term && lists.list(policy).is_some_and(|list| list.version == spaces.version)
        })
}
