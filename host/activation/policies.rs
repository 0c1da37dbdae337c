//! Loads the policies of a configuration, and describes them to the ledger.

use crate::config::{self, ComponentSource, Config};
use crate::gateway::ActiveConfig;
use crate::gateway::request::route::judges;
use crate::ledger::{Identity, PolicySpace, RouteEntry, RouteKeys, RouteRetention, RouteTable};
use crate::policy::{self, Engine, Generation, Generations, LoadError, RequestField};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The active generations that are used again, and not loaded anew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reuse<'a> {
    /// No generation: nothing is active.
    Nothing,
    /// The generations whose component and configuration are as they were. A suspended policy's generation
    /// counts as unchanged whatever its files say.
    Unchanged(&'a ActiveConfig, &'a BTreeSet<Arc<str>>),
    /// The generations of all policies but this one, and this one's, too, if it is unchanged.
    AllBut(&'a ActiveConfig, &'a str),
}

impl Reuse<'_> {
    fn generation(self, policy: &config::Policy) -> Option<Arc<Generation>> {
        let (active, stays) = match self {
            Self::Nothing => return None,
            Self::Unchanged(active, suspended) => (active, suspended.contains(&policy.name)),
            Self::AllBut(active, name) => (active, *policy.name != *name),
        };
        let same = active.config.policies.get(&policy.name).is_some_and(|known| **known == *policy);
        let generation = active.generations.get(&policy.name)?;
        (same && (stays || is_unchanged(policy, generation))).then(|| generation.clone())
    }
}

/// Loads the policies of a configuration, up to the first policy that can't be loaded.
pub(super) fn load_policies(
    engine: &Arc<Engine>,
    config: &Config,
    reuse: Reuse<'_>,
) -> Result<Generations, LoadError> {
    load_each(engine, config, reuse).collect()
}

/// Loads the policies of a configuration one by one, as far as the caller goes on.
pub(super) fn load_each(
    engine: &Arc<Engine>,
    config: &Config,
    reuse: Reuse<'_>,
) -> impl Iterator<Item = Result<(Arc<str>, Arc<Generation>), LoadError>> {
    config.policies.iter().map(move |(name, policy)| {
        let generation = match reuse.generation(policy) {
            Some(generation) => generation,
            None => engine.load(policy).map_err(|error| error.located(config))?,
        };
        fits_routes(&generation, config)?;
        Ok((name.clone(), generation))
    })
}

/// Checks that the generation can do what its policy's routes ask of it.
pub(super) fn fits_routes(generation: &Generation, config: &Config) -> Result<(), LoadError> {
    let mut routes = config.routes.iter().filter(|route| route.policy.as_ref() == Some(generation.name()));
    routes.try_for_each(|route| generation.fits(route)).map_err(|error| error.located(config))
}

/// What the loads of these policies found that is allowed and hardly meant: a policy that fails on every trial, and
/// methods that a route names and its policy doesn't judge.
pub fn doubts(config: &Config, generations: &Generations) -> Vec<String> {
    let failing = generations.values().filter_map(|generation| generation.warning());
    failing.chain(config.routes.iter().filter_map(|route| unjudged(route, generations))).collect()
}

fn unjudged(route: &config::RouteConfig, generations: &Generations) -> Option<String> {
    let policy = route.policy.as_ref()?;
    let generation = generations.get(policy)?;
    // Of the others a warning tells without the policy.
    let may_be_guarded = |method: &&String| route.reach().may_guard(method);
    let unjudged = |method: &&String| !judges(route, generation, method);
    let named: Vec<&str> =
        route.methods.iter().filter(may_be_guarded).filter(unjudged).map(String::as_str).collect();
    let planned = match generation.plan().methods.as_slice() {
        [] => "all but GET, HEAD, OPTIONS and TRACE".to_owned(),
        methods => methods.join(", "),
    };
    (!named.is_empty()).then(|| {
        format!(
            "route `{}`: its policy `{policy}` guards no {} (its methods: {planned}), so those requests run each time they \
             come; leave them out of `methods`, or have the policy's settings name them",
            route.name,
            named.join(" and no ")
        )
    })
}

fn is_unchanged(policy: &config::Policy, generation: &Generation) -> bool {
    match &policy.component {
        ComponentSource::Builtin(_) => true,
        ComponentSource::File(path) => file_digest(path).is_some_and(|digest| digest == generation.digest()),
    }
}

/// The digest of the component that a configuration names; none if it can't be read.
pub(super) fn component_digest(policy: &config::Policy) -> Option<String> {
    match &policy.component {
        ComponentSource::Builtin(name) => {
            policy::builtin::component(name).map(|bytes| policy::hex(&Sha256::digest(bytes)))
        }
        ComponentSource::File(path) => file_digest(path),
    }
}

/// The SHA-256 of a file, in hexadecimal; none if there is no file that can be read.
pub(super) fn file_digest(path: &Path) -> Option<String> {
    // Reading a FIFO in the file's place would never end.
    let bytes =
        path.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|_| std::fs::read(path).ok())?;
    Some(policy::hex(&Sha256::digest(bytes)))
}

/// The way in which keys are made with this configuration and these policies.
pub(super) fn identity(config: &Config, generations: &Generations) -> Identity {
    Identity {
        deployment: config.ledger.deployment.to_string(),
        normalisation: config.server.paths.number(),
        routes: RouteTable::new(config.routes.iter().map(|route| route_entry(route, generations))),
        spaces: (generations.iter())
            .map(|(name, generation)| {
                let key_schema = generation.plan().key_schema.to_string();
                (name.to_string(), PolicySpace { key_schema, key_epoch: generation.key_epoch() })
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

/// The retention of each guarded route.
pub(super) fn retentions(config: &Config) -> BTreeMap<String, RouteRetention> {
    let of = |route: &Arc<config::RouteConfig>| {
        let policy = route.policy.as_deref()?.to_owned();
        Some((route.name.to_string(), RouteRetention { policy, memory: route.times.memory }))
    };
    config.routes.iter().filter_map(of).collect()
}
