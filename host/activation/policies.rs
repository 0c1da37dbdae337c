//! From a configuration to the generations of its policies, and what the ledger is told of them.

use crate::config::{self, ComponentSource, Config};
use crate::gateway::ActiveConfig;
use crate::ledger::{Identity, NORMALISATION, RouteEntry, RouteKeys, RouteRetention, RouteTable, Space};
use crate::policy::{self, Engine, Generation, Generations, LoadError, RequestField};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Loads policies; keeps generations whose component and configuration are as they were, and those
/// of the policies in `held` whatever their files say.
pub fn load_policies(
    engine: &Arc<Engine>,
    config: &Config,
    active: Option<&ActiveConfig>,
    held: &BTreeSet<Arc<str>>,
) -> Result<Generations, LoadError> {
    let mut generations = Generations::new();
    for (name, policy) in &config.policies {
        let kept = active.and_then(|active| {
            let same = active.config.policies.get(name) == Some(policy);
            let stays = |generation: &Generation| held.contains(name) || is_unchanged(policy, generation);
            active.generations.get(name).filter(|generation| same && stays(generation))
        });
        let generation = match kept {
            Some(generation) => generation.clone(),
            None => engine.load(policy).map_err(|error| error.located(config))?,
        };
        let mut routes = config.routes.iter().filter(|route| route.policy.as_ref() == Some(name));
        routes.try_for_each(|route| generation.fits(route))?;
        generations.insert(name.clone(), generation);
    }
    Ok(generations)
}

fn is_unchanged(policy: &config::Policy, generation: &Generation) -> bool {
    match &policy.component {
        ComponentSource::Builtin(_) => true,
        ComponentSource::File(path) => file_digest(path).is_some_and(|digest| digest == generation.digest()),
    }
}

/// The digest of the component that a configuration names; none where it can't be read.
pub(super) fn component_digest(policy: &config::Policy) -> Option<String> {
    match &policy.component {
        ComponentSource::Builtin(name) => {
            policy::builtin::component(name).map(|bytes| policy::hex(&Sha256::digest(bytes)))
        }
        ComponentSource::File(path) => file_digest(path),
    }
}

/// The SHA-256 of a file, in hexadecimal; none where there is no file that can be read.
pub(super) fn file_digest(path: &Path) -> Option<String> {
    // A FIFO in its place would be read for ever.
    let bytes =
        path.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|_| std::fs::read(path).ok())?;
    Some(policy::hex(&Sha256::digest(bytes)))
}

/// How keys are made with this configuration and these policies.
pub fn identity(config: &Config, generations: &Generations) -> Identity {
    Identity {
        deployment: config.ledger.deployment.to_string(),
        normalisation: NORMALISATION,
        routes: RouteTable::new(config.routes.iter().map(|route| route_entry(route, generations))),
        spaces: (generations.iter())
            .map(|(name, generation)| {
                let key_schema = generation.plan().key_schema.to_string();
                (name.to_string(), Space { key_schema, key_epoch: generation.key_epoch() })
            })
            .collect(),
    }
}

fn route_entry(route: &config::RouteConfig, generations: &Generations) -> RouteEntry {
    let sees_name = |policy: &Arc<str>| {
        let plan = generations.get(policy).map(|generation| generation.plan());
        plan.is_some_and(|plan| plan.request_fields.contains(&RequestField::Route))
    };
    let keys = route.policy.as_ref().map(|policy| RouteKeys {
        policy: policy.to_string(),
        principal: route.principal.from.to_string(),
        by_name: sees_name(policy),
    });
    RouteEntry {
        name: route.name.to_string(),
        host: route.host.clone(),
        path: route.path.clone(),
        methods: route.methods.clone(),
        keys,
    }
}

/// How long the guarded routes remember.
pub fn retentions(config: &Config) -> BTreeMap<String, RouteRetention> {
    let of = |route: &Arc<config::RouteConfig>| {
        let policy = route.policy.as_deref()?.to_owned();
        Some((route.name.to_string(), RouteRetention { policy, memory: route.times.memory }))
    };
    config.routes.iter().filter_map(of).collect()
}
