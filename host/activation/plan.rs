//! The one order in which a configuration with its policies is put in force (`design/loading.md`).
//!
//! 1. Its policies are loaded: [`load_policies`](super::load_policies).
//! 2. None of them breaks the promise of its key-schema. One that does is recorded in the ledger.
//! 3. The ledger agrees with how keys are made, or says what records would lose theirs.
//! 4. What makes keys is archived, the key spaces are entered, and what routes remember is written down.
//! 5. How keys are made takes effect, and the configuration is active by one pointer swap.
//!
//! Steps 1 to 3 are the [`ActivationPlan`]; 4 and 5 are its [commit](super::commit). A start, a reload and a check go this
//! way, and differ by their [`Purpose`] only.

use super::archive::{Archive, deriver};
use super::policies::identity;
use super::promise::{self, PromiseBroken, Promises};
use super::report::IDENTITY;
use super::{ActivationError, PolicyLoader};
use crate::config::Config;
use crate::gateway::ActiveConfig;
use crate::keyspaces::{self, InForce, SpaceRegistry, SpaceResolver};
use crate::ledger::{Change, Ledger};
use crate::policy::{Engine, Generation, Generations, Steps};
use crate::store::ConfiguredStore;
use oncegate_core::LostRecords;
use std::sync::Arc;
use std::time::Instant;

/// The tools of an activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tools<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) engine: &'a Arc<Engine>,
    /// The archive of the components that derive keys.
    pub(super) archive: &'a Archive,
    /// Says if records that would lose their keys are given up.
    pub(super) lost: LostRecords,
}

impl<'a> Tools<'a> {
    /// Loads older generations of the policies of this configuration.
    pub(super) fn loader<'b>(&self, config: &'b Config) -> PolicyLoader<'b>
    where
        'a: 'b,
    {
        PolicyLoader { config, engine: self.engine, archive: self.archive }
    }

    /// Finds the generations by which the keys of this configuration's policies are derived.
    pub(super) fn resolver<'b>(
        &self,
        config: &'b Config,
    ) -> SpaceResolver<'b, ConfiguredStore, PolicyLoader<'b>>
    where
        'a: 'b,
    {
        SpaceResolver { registry: self.ledger.key_spaces(), loader: self.loader(config), lost: self.lost }
    }
}

/// Why a configuration is put in force or checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// A start: no request goes by another configuration yet.
    Start,
    /// A reload: requests go by this configuration until the new one takes its place.
    Reload(&'a ActiveConfig),
    /// A check: nothing is put in force, and nothing is written.
    Check,
}

impl<'a> Purpose<'a> {
    /// The configuration that is active meanwhile.
    pub(super) fn active(self) -> Option<&'a ActiveConfig> {
        match self {
            Self::Reload(active) => Some(active),
            Self::Start | Self::Check => None,
        }
    }

    /// The generations that derive keys until `next` is in force.
    pub(super) fn in_force(self, next: &Generations) -> Option<InForce<'a, Arc<Generation>>> {
        let active = self.active()?;
        let staying = next.values().filter(|generation| self.has(generation));
        let staying = staying.map(|generation| generation.name().clone()).collect();
        Some(InForce { generations: &active.generations, spaces: &active.spaces, staying })
    }

    /// True if this generation is active already.
    pub(super) fn has(self, generation: &Generation) -> bool {
        let active = self.active().and_then(|active| active.generations.get(generation.name()));
        active.is_some_and(|active| active.number() == generation.number())
    }
}

/// A configuration that may be put in force.
#[derive(Debug)]
pub(super) struct ActivationPlan<'a> {
    pub(super) config: Config,
    pub(super) generations: Generations,
    pub(super) promises: Promises,
    /// The steps of the whole configuration so far.
    pub(super) steps: Steps,
    pub(super) agreement: Agreement<'a>,
}

/// How far the ledger has agreed with the new way of making keys.
#[derive(Debug)]
pub(super) enum Agreement<'a> {
    /// The ledger goes by the new way already. These records were given up, in words.
    InForce(Vec<String>),
    /// The ledger would go by the new way, and has not begun to.
    Examined(Change<'a, ConfiguredStore>),
}

impl Agreement<'_> {
    /// The records that are given up, in words.
    pub(super) fn given_up(&self) -> &[String] {
        match self {
            Self::InForce(given_up) => given_up,
            Self::Examined(change) => change.given_up(),
        }
    }
}

impl<'a> ActivationPlan<'a> {
    /// Finds out whether a configuration with these generations may be put in force.
    pub(super) async fn make(
        tools: Tools<'a>,
        purpose: Purpose<'_>,
        config: Config,
        generations: Generations,
    ) -> Result<Self, ActivationError> {
        let promises = check_promises(tools, purpose, &config, &generations).await?;
        let (mut steps, begun) = (Steps::default(), Instant::now());
        let (identity, lost) = (identity(&config, &generations), tools.lost);
        let agreement = match purpose {
            // No request has keys that were made in another way. So the ledger goes by the new way at once,
            // before any key space is entered.
            Purpose::Start => Agreement::InForce(tools.ledger.agree(&identity, lost).await?),
            // Requests go on by the old way. The new way takes effect in the moment of the pointer swap.
            Purpose::Reload(_) | Purpose::Check => {
                Agreement::Examined(tools.ledger.examine(&identity, lost).await?)
            }
        };
        steps.taken(IDENTITY, begun, true);
        Ok(Self { config, generations, promises, steps, agreement })
    }
}

/// Checks the promises of the new generations.
async fn check_promises(
    tools: Tools<'_>,
    purpose: Purpose<'_>,
    config: &Config,
    next: &Generations,
) -> Result<Promises, ActivationError> {
    let spaces = tools.ledger.key_spaces().read().await?;
    for (policy, generation) in next.iter().filter(|(_, generation)| !purpose.has(generation)) {
        if let Some(why) = keyspaces::refusal(&spaces, policy, &deriver(generation)) {
            return Err(ActivationError::Promise(PromiseBroken::recorded(generation, &why)));
        }
    }
    let before = match purpose.active() {
        Some(active) => promise::derivers_before(active, next),
        None => tools.resolver(config).before(next).await?,
    };
    let after = next.clone();
    let checked = tokio::task::spawn_blocking(move || promise::check(&before, &after)).await?;
    let broken = match checked {
        Ok(promises) => return Ok(promises),
        Err(broken) => broken,
    };
    let records = match purpose {
        Purpose::Start | Purpose::Reload(_) => next.get(&broken.policy),
        Purpose::Check => None,
    };
    if let Some(generation) = records {
        record_refusal(tools.ledger.key_spaces(), &broken, generation).await;
    }
    Err(ActivationError::Promise(broken))
}

/// Has the ledger record that this generation breaks its promise. Then no gateway on this ledger takes it.
async fn record_refusal(
    registry: &SpaceRegistry<ConfiguredStore>,
    broken: &PromiseBroken,
    generation: &Generation,
) {
    let Some(why) = &broken.to_record else { return };
    let recorded = registry.refuse(&broken.policy, &deriver(generation), why).await;
    if let Err(error) = recorded {
        tracing::warn!(policy = %broken.policy, %error, "that it is refused can't be kept in the ledger");
    }
}
