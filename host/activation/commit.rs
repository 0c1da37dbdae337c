//! A plan put in force: what is written before, what takes effect, and one pointer swap.

use super::ActivationError;
use super::plan::{ActivationPlan, Agreement, Purpose, Tools};
use super::policies::retentions;
use crate::gateway::ActiveConfig;
use crate::keyspaces::Resolved;
use crate::ledger::{IdentityError, Numbers, Taken};
use crate::observe::metrics::Metrics;
use crate::store::ConfiguredStore;
use crate::upstream::UpstreamTable;
use oncegate_core::LostRecords;
use std::mem::take;

/// What was put in force, and what is worth saying of it.
#[derive(Debug)]
pub(super) struct Committed<T> {
    /// What the pointer swap returned.
    pub(super) swapped: T,
    /// What the configuration allows.
    pub(super) allowed: Vec<String>,
    /// What the checks of the promises showed.
    pub(super) promises: Vec<String>,
    /// Records that were given up.
    pub(super) given_up: Vec<String>,
    /// Why some policies guard nothing for now.
    pub(super) unavailable: Vec<String>,
}

impl<T> Committed<T> {
    /// All of it in one list.
    pub(super) fn warnings(self) -> Vec<String> {
        let Self { allowed, promises, given_up, unavailable, .. } = self;
        [allowed, promises, given_up, unavailable].concat()
    }
}

impl ActivationPlan<'_> {
    /// Puts it in force. `in_flight`: the key spaces by which requests under way decide. `swap` makes the
    /// configuration active; what the ledger was told takes effect in the same moment.
    pub(super) async fn commit<T>(
        mut self,
        tools: Tools<'_>,
        purpose: Purpose<'_>,
        in_flight: &Numbers,
        metrics: &Metrics,
        swap: impl FnOnce(ActiveConfig) -> T,
    ) -> Result<Committed<T>, ActivationError> {
        let (resolver, active) = (tools.resolver(), purpose.active());
        let resolved = resolver.resolve(&self.config, &self.generations, active, in_flight).await?;
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
                // The lists go by what stays active.
                if let Some(active) = active {
                    let tools = Tools { lost: LostRecords::Refuse, ..tools };
                    let (config, generations) = (&active.config, &active.generations);
                    tools.resolver().resolve(config, generations, Some(active), in_flight).await?;
                }
                return Err(error.into());
            }
        };
        if let Some(term) = taken.as_ref().and_then(|taken| taken.term) {
            table.begin(term);
        }
        let none = UpstreamTable::new();
        let upstreams = active.map_or(&none, |active| &active.upstreams);
        let swapped = swap(ActiveConfig::new(self.config, self.generations, table, upstreams, metrics));
        drop(taken);
        Ok(Committed { swapped, allowed, promises, given_up, unavailable })
    }
}

async fn take_effect(agreement: Agreement<'_>) -> Result<Option<Taken<'_, ConfiguredStore>>, IdentityError> {
    match agreement {
        Agreement::InForce(_) => Ok(None),
        Agreement::Examined(change) => change.take_effect().await.map(Some),
    }
}

/// What is said of what was given up.
fn given_up_words(what: &str) -> String {
    format!("accepted: these operations may run again: {what}")
}
