//! What a start with a configuration would find in its ledger: the key spaces, and whether it would be
//! refused. For `oncegate check`.
//!
//! Nothing is written that a start would heed; only the folder is locked for as long as it is read.

use super::{PromiseBroken, check_start, identity};
use crate::config::{Config, StoreKind};
use crate::keyspaces::{self, Archive, ResolveError, SpaceResolver, deriver};
use crate::ledger::{Clock, IdentityError, Ledger, SpacesError};
use crate::policy::{Engine, Generations};
use crate::store::{AnyStore, Embedded, OpenError};
use oncegate_core::SpaceNumber;
use oncegate_core::keyspaces::list::{self, Deriver};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub enum Preflight {
    /// There is no ledger yet, or it is memory: each policy begins with a key space of its own.
    New,
    /// It can't be looked at now, for this reason.
    Unseen(String),
    /// The key spaces that there would be, by policy, lowest number first.
    Seen(BTreeMap<Arc<str>, Vec<PreflightSpace>>),
}

/// A key space that a policy would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightSpace {
    /// Its number.
    pub number: SpaceNumber,
    /// Its key schema.
    pub key_schema: Arc<str>,
    /// Its key epoch.
    pub key_epoch: u64,
    /// What it would be for.
    pub role: SpaceRole,
}

/// What a key space is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpaceRole {
    /// The policy decides by it, as before.
    Decides,
    /// The policy decides by it, and it wasn't open before.
    Opens,
    /// Keys are derived in it beside those of the others, until no record needs it.
    Reads,
    /// What made its keys can't be loaded, for this reason: the policy's routes would refuse.
    Missing(String),
}

/// Why a start would be refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum Refused {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Spaces(#[from] SpacesError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Promise(#[from] PromiseBroken),
    #[error("no runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Looks at the configuration's ledger. Blocks.
pub fn look(config: &Config, engine: &Arc<Engine>, generations: &Generations) -> Result<Preflight, Refused> {
    let StoreKind::Embedded(path) = &config.ledger.store else { return Ok(Preflight::New) };
    if !Embedded::is_in(path) {
        return Ok(Preflight::New);
    }
    if let Some(why) = is_anothers(path) {
        return Ok(Preflight::Unseen(why));
    }
    let (store, recovered) = match Embedded::open(path, config.ledger.durability) {
        Ok(opened) => opened,
        Err(locked @ OpenError::Locked { .. }) => return Ok(Preflight::Unseen(locked.to_string())),
        Err(error) => return Err(error.into()),
    };
    crate::run::runtime()?.block_on(async {
        let clock = Clock::start(recovered.last_time);
        let (ledger, _keeper) = Ledger::new(AnyStore::Embedded(store).untimed(), clock, None);
        read(config, engine, generations, &ledger).await
    })
}

/// Files that this user made in another one's folder would stand in that one's way.
fn is_anothers(path: &Path) -> Option<String> {
    let owner = path.metadata().ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (owner != own).then(|| {
        format!("the data folder {} belongs to user {owner}, and this is user {own}", path.display())
    })
}

async fn read(
    config: &Config,
    engine: &Arc<Engine>,
    generations: &Generations,
    ledger: &Ledger,
) -> Result<Preflight, Refused> {
    if let Some(configured) = config.ledger.secret {
        ledger.may_get_secret(&configured).await?;
    }
    ledger.examine(&identity(config, generations), false).await?;
    let spaces = ledger.read_spaces().await?;
    for (policy, generation) in generations {
        if let Some(why) = keyspaces::refusal(&spaces, policy, generation) {
            return Err(PromiseBroken::recorded(generation, &why).into());
        }
    }
    let archive = Archive::of(config);
    let resolver = SpaceResolver { ledger, engine, archive: &archive, accept_duplicates: false };
    check_start(&resolver.before(config, generations).await?, generations)?;
    let mut seen = BTreeMap::new();
    for (policy, generation) in generations {
        let own = deriver(generation);
        let mut list = spaces.list(policy).cloned().unwrap_or_default();
        let known = list.numbers();
        let number = list.enter(&own).map_err(|closed| SpacesError::Closed(policy.clone(), closed))?;
        let mut all = Vec::new();
        for list::Space { number: one, deriver, .. } in &list.spaces {
            let role = match (*one == number, known.contains(one)) {
                (true, true) => SpaceRole::Decides,
                (true, false) => SpaceRole::Opens,
                (false, _) => match resolver.load(config, policy, deriver).await? {
                    Ok(_) => SpaceRole::Reads,
                    Err(why) => SpaceRole::Missing(why),
                },
            };
            let Deriver { key_schema, key_epoch, .. } = deriver.clone();
            all.push(PreflightSpace { number: *one, key_schema, key_epoch, role });
        }
        seen.insert(policy.clone(), all);
    }
    Ok(Preflight::Seen(seen))
}
