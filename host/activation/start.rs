//! A start: the first configuration is put in force on a ledger that may know other configurations.

use super::plan::{ActivationPlan, Purpose, Tools};
use super::policies::{Reuse, load_policies};
use super::report::{Occasion, PolicyReport};
use super::{ActivationError, Archive};
use crate::config::{Config, StoreKind};
use crate::gateway::Shared;
use crate::keyspaces::{Numbers, SpaceTable};
use crate::ledger::Ledger;
use crate::observe::metrics::Metrics;
use crate::policy::{CodeCache, Engine};
use oncegate_core::{LostRecords, Secret};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Loads the policies of a configuration and has the ledger agree with how they make keys, or says why it
/// doesn't. `list_lease`: as for [`SpaceRegistry::join`](crate::keyspaces::SpaceRegistry::join).
pub async fn start(
    config: Config,
    engine: Arc<Engine>,
    ledger: Arc<Ledger>,
    archive: &Archive,
    list_lease: Option<Duration>,
    lost: LostRecords,
) -> Result<Shared, ActivationError> {
    // The join comes first, so that other gateways know of this one before it reads anything
    // that it then goes by.
    ledger.key_spaces().join(list_lease).await?;
    let secret = ledger.secret(config.ledger.secret, lost).await?;
    cache_code(&engine, &config, &secret);
    let generations = load_policies(&engine, &config, Reuse::Nothing)?;
    let tools = Tools { ledger: &ledger, engine: &engine, archive, lost };
    let plan = ActivationPlan::make(tools, Purpose::Start, config, generations).await?;
    let metrics = Metrics::default();
    let committed = plan.commit(tools, Purpose::Start, &Numbers::new(), &metrics, |active| active).await?;
    for warning in committed.doubted.iter().chain(&committed.promises).chain(&committed.given_up) {
        tracing::warn!("{warning}");
    }
    let active = committed.swapped;
    active.spaces.log_changes(&SpaceTable::default());
    archive.tidy(&ledger.key_spaces().lists(), &BTreeSet::new());
    for policy in PolicyReport::all(None, &active, &committed.entries) {
        metrics.policy_started(&policy.name, policy.generation);
        policy.log(Occasion::START);
    }
    Ok(Shared::new(active, ledger, secret, engine, metrics))
}

/// Keeps compiled policies beside an embedded ledger. Without them a start only takes longer.
fn cache_code(engine: &Engine, config: &Config, secret: &Secret) {
    let StoreKind::Embedded(path) = &config.ledger.store else { return };
    let folder = path.join("oncegate.code");
    match CodeCache::open(&folder, secret) {
        Ok(cache) => engine.keep_code_in(cache),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "compiled policies are not kept here");
        }
    }
}
