//! The second half of the order: a plan is put in force by writes that come first, and by one pointer swap.

use super::ActivationError;
use super::plan::{ActivationPlan, Agreement, Purpose, Tools};
use super::policies::{doubts, retentions};
use super::promise::Promises;
use super::report::{ACTIVATE, Entries, KEY_SPACES};
use crate::gateway::ActiveConfig;
use crate::keyspaces::{Numbers, Resolved};
use crate::ledger::{ChangeMade, IdentityError, RouteRetention};
use crate::observe::metrics::Metrics;
use crate::policy::{Generation, Generations, Steps};
use crate::store::ConfiguredStore;
use crate::upstream::UpstreamTable;
use oncegate_core::LostRecords;
use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Instant;

/// A plan that is in force, with its warnings.
#[derive(Debug)]
pub(super) struct Committed<T> {
    /// The result of the pointer swap.
    pub(super) swapped: T,
    /// The steps by which its new generations came into force.
    pub(super) entries: Entries,
    /// The warnings of the configuration.
    pub(super) allowed: Vec<String>,
    /// What the policies' loads found that is allowed and hardly meant.
    pub(super) doubted: Vec<String>,
    /// The warnings of the promise checks.
    pub(super) promises: Vec<String>,
    /// The records that were given up.
    pub(super) given_up: Vec<String>,
    /// Why some policies guard nothing for now.
    pub(super) unavailable: Vec<String>,
}

impl<T> Committed<T> {
    /// All warnings in one list.
    pub(super) fn warnings(self) -> Vec<String> {
        let Self { allowed, doubted, promises, given_up, unavailable, .. } = self;
        [allowed, doubted, promises, given_up, unavailable].concat()
    }
}

impl ActivationPlan<'_> {
    /// Puts the plan in force. `in_flight`: the key spaces by which requests under way decide. `swap` makes the
    /// configuration active. While it does, the ledger sends nothing that was derived in the old way.
    pub(super) async fn commit<T>(
        mut self,
        tools: Tools<'_>,
        purpose: Purpose<'_>,
        in_flight: &Numbers,
        metrics: &Metrics,
        swap: impl FnOnce(ActiveConfig) -> T,
    ) -> Result<Committed<T>, ActivationError> {
        let (begun, active, in_force) =
            (Instant::now(), purpose.active(), purpose.in_force(&self.generations));
        let resolver = tools.resolver(&self.config);
        let resolved = resolver.resolve(&self.generations, in_force.as_ref(), in_flight).await?;
        let memories = retentions(&self.config);
        let first =
            active.map_or_else(|| memories.clone(), |active| shorter(&retentions(&active.config), &memories));
        tools.ledger.remember(&first).await.map_err(IdentityError::from)?;
        let Resolved { spaces: mut table, given_up } = resolved;
        let given_up = self.agreement.given_up().iter().chain(&given_up).map(|what| given_up_words(what));
        let given_up = given_up.collect();
        let promises = self.promises.values_mut().flat_map(|promise| take(&mut promise.warnings)).collect();
        let doubted = doubts(&self.config, &self.generations);
        let unavailable = table.unavailable.values().map(|unavailable| unavailable.why.to_string()).collect();
        let allowed = self.config.warnings.clone();
        let mut taken = match take_effect(self.agreement).await {
            Ok(taken) => taken,
            Err(error) => {
                go_back(tools, purpose, in_flight).await;
                return Err(error.into());
            }
        };
        self.steps.taken(KEY_SPACES, begun, true);
        if let Some(term) = taken.as_ref().and_then(|taken| taken.term) {
            table.begin(term);
        }
        let none = UpstreamTable::default();
        let upstreams = active.map_or(&none, |active| &active.upstreams);
        let (begun, generations) = (Instant::now(), self.generations.clone());
        let swapped = swap(ActiveConfig::new(self.config, self.generations, table, upstreams, metrics));
        self.steps.taken(ACTIVATE, begun, true);
        let entries = entries(&generations, purpose, &self.promises, self.steps);
        if let Some(taken) = &mut taken {
            taken.complete();
        }
        // A longer memory counts from when it is in force. Until it is written down the shorter one counts.
        if let Err(error) = tools.ledger.remember(&memories).await {
            tracing::warn!(%error, "how long routes remember can't be noted: until the next reload the shorter memory counts");
        }
        drop(taken);
        Ok(Committed { swapped, entries, allowed, doubted, promises, given_up, unavailable })
    }
}

/// The steps by which each new generation came into force, which the generation keeps. `steps`: those of the whole
/// configuration.
fn entries(generations: &Generations, purpose: Purpose<'_>, promises: &Promises, steps: Steps) -> Entries {
    let shared = steps.into_vec();
    let new = generations.iter().filter(|(_, generation)| !purpose.has(generation));
    let entry = |(name, generation): (&Arc<str>, &Arc<Generation>)| {
        let promise = promises.get(name).map_or(&[][..], |checked| &checked.steps);
        let entry = [promise, &shared].concat();
        generation.entered(entry.clone());
        (name.clone(), entry)
    };
    new.map(entry).collect()
}

async fn take_effect(
    agreement: Agreement<'_>,
) -> Result<Option<ChangeMade<'_, ConfiguredStore>>, IdentityError> {
    match agreement {
        Agreement::InForce(_) => Ok(None),
        Agreement::Examined(change) => change.take_effect().await.map(Some),
    }
}

/// Makes the lists of key spaces go by the active configuration again. What fails here is made up for when the
/// lists are tended.
async fn go_back(tools: Tools<'_>, purpose: Purpose<'_>, in_flight: &Numbers) {
    let Some(active) = purpose.active() else { return };
    let tools = Tools { lost: LostRecords::Refuse, ..tools };
    let in_force = purpose.in_force(&active.generations);
    let resolver = tools.resolver(&active.config);
    if let Err(error) = resolver.resolve(&active.generations, in_force.as_ref(), in_flight).await {
        tracing::warn!(%error, "the list of key spaces has what a refused reload put there: it is tried again");
    }
}

/// The memories of `next` that hold while either configuration may be in force. Routes that only one of them
/// has, or has by that policy, are left out: nobody goes by them yet.
fn shorter(
    active: &BTreeMap<String, RouteRetention>,
    next: &BTreeMap<String, RouteRetention>,
) -> BTreeMap<String, RouteRetention> {
    let both = |(name, next): (&String, &RouteRetention)| {
        let active = active.get(name).filter(|active| active.policy == next.policy)?;
        let memory = active.memory.min(next.memory);
        Some((name.clone(), RouteRetention { memory, ..next.clone() }))
    };
    next.iter().filter_map(both).collect()
}

/// The warning about records that were given up.
fn given_up_words(what: &str) -> String {
    format!("accepted: these operations may run again: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn routes(all: &[(&str, &str, u64)]) -> BTreeMap<String, RouteRetention> {
        let one = |(name, policy, secs): &(&str, &str, u64)| {
            let memory = Duration::from_secs(*secs);
            ((*name).to_owned(), RouteRetention { policy: (*policy).to_owned(), memory })
        };
        all.iter().map(one).collect()
    }

    /// A refused reload must not make the ledger believe in a memory that was never in force.
    #[test]
    fn a_longer_memory_counts_once_it_is_in_force() {
        let active = routes(&[("a", "p", 10), ("b", "p", 10), ("c", "p", 10), ("gone", "p", 10)]);
        let next = routes(&[("a", "p", 5), ("b", "p", 20), ("c", "q", 5), ("new", "p", 5)]);
        assert_eq!(shorter(&active, &next), routes(&[("a", "p", 5), ("b", "p", 10)]));
    }
}
