//! The second half of the order: a plan is put in force by writes that come first, and by one pointer swap.

use super::ActivationError;
use super::plan::{ActivationPlan, Agreement, Purpose, Tools};
use super::policies::retentions;
use crate::gateway::ActiveConfig;
use crate::keyspaces::{Numbers, Resolved};
use crate::ledger::{ChangeMade, IdentityError};
use crate::observe::metrics::Metrics;
use crate::store::ConfiguredStore;
use crate::upstream::UpstreamTable;
use oncegate_core::LostRecords;
use std::mem::take;

/// A plan that is in force, with its warnings.
#[derive(Debug)]
pub(super) struct Committed<T> {
    /// The result of the pointer swap.
    pub(super) swapped: T,
    /// The warnings of the configuration.
    pub(super) allowed: Vec<String>,
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
        let Self { allowed, promises, given_up, unavailable, .. } = self;
        [allowed, promises, given_up, unavailable].concat()
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
        let (active, in_force) = (purpose.active(), purpose.in_force(&self.generations));
        let resolver = tools.resolver(&self.config);
        let resolved = resolver.resolve(&self.generations, in_force.as_ref(), in_flight).await?;
        tools.ledger.remember(&retentions(&self.config)).await.map_err(IdentityError::from)?;
        let Resolved { spaces: mut table, given_up } = resolved;
        let given_up = self.agreement.given_up().iter().chain(&given_up).map(|what| given_up_words(what));
        let given_up = given_up.collect();
        let promises = self.promises.values_mut().flat_map(|promise| take(&mut promise.warnings)).collect();
        let unavailable = table.unavailable.values().map(|unavailable| unavailable.why.to_string()).collect();
        let allowed = self.config.warnings.clone();
        let taken = match take_effect(self.agreement).await {
            Ok(taken) => taken,
            Err(error) => {
                // The old configuration stays active, so the lists go by it again.
                if let Some(active) = active {
                    let tools = Tools { lost: LostRecords::Refuse, ..tools };
                    let in_force = purpose.in_force(&active.generations);
                    let resolver = tools.resolver(&active.config);
                    resolver.resolve(&active.generations, in_force.as_ref(), in_flight).await?;
                }
                return Err(error.into());
            }
        };
        if let Some(term) = taken.as_ref().and_then(|taken| taken.term) {
            table.begin(term);
        }
        let none = UpstreamTable::default();
        let upstreams = active.map_or(&none, |active| &active.upstreams);
        let swapped = swap(ActiveConfig::new(self.config, self.generations, table, upstreams, metrics));
        drop(taken);
        Ok(Committed { swapped, allowed, promises, given_up, unavailable })
    }
}

async fn take_effect(
    agreement: Agreement<'_>,
) -> Result<Option<ChangeMade<'_, ConfiguredStore>>, IdentityError> {
    match agreement {
        Agreement::InForce(_) => Ok(None),
        Agreement::Examined(change) => change.take_effect().await.map(Some),
    }
}

/// The warning about records that were given up.
fn given_up_words(what: &str) -> String {
    format!("accepted: these operations may run again: {what}")
}
