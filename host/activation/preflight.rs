//! Preflight, for `oncegate check`: whether the ledger would refuse a start with this configuration, and which
//! key spaces the policies would have (`design/commands.md`).
//!
//! A preflight writes nothing that a start would heed. It locks the data folder while it reads.

use super::archive::{Archive, deriver};
use super::plan::{ActivationPlan, Purpose, Tools};
use super::policies::{Reuse, load_each};
use super::{ActivationError, LoaderError};
use crate::config::{Config, StoreKind};
use crate::keyspaces::{Loaded, Loader as _, ResolveError, SpacesError};
use crate::ledger::Ledger;
use crate::policy::{Engine, Generations, LoadError};
use crate::store::{AnyStore, Clock, Embedded, MarkFile, OpenError};
use oncegate_core::keyspaces::list::{self, Deriver};
use oncegate_core::{LostRecords, SpaceNumber};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The result of a preflight.
#[derive(Debug)]
pub enum Preflight {
    /// There is no ledger yet, or it is memory: each policy begins with a key space of its own.
    New,
    /// The ledger can't be looked at now, for this reason.
    Unseen(String),
    /// The key spaces that a start would have, by policy, lowest number first.
    Seen(BTreeMap<Arc<str>, Vec<PreflightSpace>>),
}

/// A key space that a policy would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightSpace {
    /// The key space's number.
    pub number: SpaceNumber,
    /// The key space's key schema.
    pub key_schema: Arc<str>,
    /// The key space's key epoch.
    pub key_epoch: u64,
    /// The policy's use of it.
    pub role: SpaceRole,
}

/// A policy's use of a key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpaceRole {
    /// The policy decides by it, as before.
    Decides,
    /// The policy decides by it, and it wasn't open before.
    Opens,
    /// Keys are derived in it beside those of the other key spaces, until no record needs it.
    Reads,
    /// The deriver of its keys can't be loaded, for this reason: the policy's routes would refuse.
    Missing(String),
}

/// Loads every policy as a start would: read, compiled, configured, tested by its own vectors. The error has
/// the faults of all policies, not only of the first.
pub fn load_all(config: &Config, engine: &Arc<Engine>) -> Result<Generations, Vec<LoadError>> {
    let (mut generations, mut faults) = (Generations::new(), Vec::new());
    for loaded in load_each(engine, config, Reuse::Nothing) {
        match loaded {
            Ok((name, generation)) => _ = generations.insert(name, generation),
            Err(error) => faults.push(error),
        }
    }
    if faults.is_empty() { Ok(generations) } else { Err(faults) }
}

/// Looks at the configuration's ledger. Opening it blocks.
pub async fn look(
    config: &Config,
    engine: &Arc<Engine>,
    generations: &Generations,
) -> Result<Preflight, ActivationError> {
    let StoreKind::Embedded(path) = &config.ledger.store else { return Ok(Preflight::New) };
    let mark = config.ledger.mark_file.clone();
    let mark = mark.map(|path| MarkFile { path, lost: LostRecords::Refuse, is_only_read: true });
    if !Embedded::look(path, mark.as_ref())? {
        can_be_kept(config, generations)?;
        return Ok(Preflight::New);
    }
    is_own(path)?;
    let (store, recovered) = match Embedded::open_marked(path, config.ledger.durability, mark.as_ref()) {
        Ok(opened) => opened,
        Err(locked @ OpenError::Locked { .. }) => return Ok(Preflight::Unseen(locked.to_string())),
        Err(error) => return Err(error.into()),
    };
    let clock = Clock::start(recovered.last_time);
    let (ledger, _keeper) = Ledger::new(AnyStore::Embedded(store).untimed(), clock, None);
    let archive = Archive::of(config);
    let tools = Tools { ledger: &ledger, engine, archive: &archive, lost: LostRecords::Refuse };
    forecast(tools, config, generations).await
}

/// Refuses another user's folder. Files that this user made in it would stand in that user's way.
fn is_own(path: &Path) -> Result<(), ActivationError> {
    let own = rustix::process::geteuid().as_raw();
    match path.metadata().map(|found| found.uid()) {
        Ok(owner) if owner != own => Err(ActivationError::Anothers { folder: path.into(), owner, own }),
        _ => Ok(()),
    }
}

/// An error where a start could not keep what makes the keys of a policy.
fn can_be_kept(config: &Config, generations: &Generations) -> Result<(), ActivationError> {
    let archive = Archive::of(config);
    for (policy, generation) in generations {
        archive.look(generation).map_err(|error| {
            ResolveError::Loader(LoaderError::Archive(policy.clone(), archive.folder(), error))
        })?;
    }
    Ok(())
}

/// Goes the way of a start up to the first write, and returns the key spaces that the start would enter.
async fn forecast(
    tools: Tools<'_>,
    config: &Config,
    generations: &Generations,
) -> Result<Preflight, ActivationError> {
    if let Some(configured) = config.ledger.secret {
        tools.ledger.may_get_secret(&configured).await?;
    }
    let plan = ActivationPlan::make(tools, Purpose::Check, config.clone(), generations.clone()).await?;
    can_be_kept(config, &plan.generations)?;
    let (loader, registry) = (tools.loader(config), tools.ledger.key_spaces());
    let spaces = registry.lists();
    let mut seen = BTreeMap::new();
    for (policy, generation) in &plan.generations {
        let own = deriver(generation);
        let mut list = spaces.list(policy).cloned().unwrap_or_default();
        let known = list.numbers();
        if list.enter(&own) == Err(list::Closed::Full) {
            // A start removes the spaces without records first.
            let mut left = Vec::new();
            for space in std::mem::take(&mut list.spaces) {
                if registry.has_records(policy, &space).await.map_err(SpacesError::from)? {
                    left.push(space);
                }
            }
            list.spaces = left;
        }
        let number = list.enter(&own).map_err(|closed| SpacesError::Closed(policy.clone(), closed))?;
        let mut all = Vec::new();
        for list::Space { number: one, deriver, .. } in &list.spaces {
            let role = match (*one == number, known.contains(one)) {
                (true, true) => SpaceRole::Decides,
                (true, false) => SpaceRole::Opens,
                (false, _) => match loader.load(policy, deriver).await.map_err(ResolveError::Loader)? {
                    Loaded::Ready(_) => SpaceRole::Reads,
                    Loaded::Missing(why) => SpaceRole::Missing(why),
                },
            };
            let Deriver { key_schema, key_epoch, .. } = deriver.clone();
            all.push(PreflightSpace { number: *one, key_schema, key_epoch, role });
        }
        seen.insert(policy.clone(), all);
    }
    Ok(Preflight::Seen(seen))
}
