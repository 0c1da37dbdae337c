//! What all gateways on a ledger must agree on: the secret, and how keys are made.
//!
//! A ledger whose keys are made in another way finds none of its records again, and would run
//! every operation a second time. So this is kept in the store, and a difference is refused.

use super::Ledger;
use crate::store::{Store, StoreError, Swap};
use bytes::Bytes;
use oncegate_core::{KeySpaces, Secret};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The rules by which the host normalises what goes into keys. Raised when they change.
pub const NORMALISATION: u16 = 1;

const SECRET: &str = "secret";
const IDENTITY: &str = "identity";

/// How keys are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The deployment's name.
    pub deployment: String,
    /// See [`NORMALISATION`].
    pub normalisation: u16,
    /// Where principals come from, by route.
    pub principals: BTreeMap<String, String>,
    /// Key spaces by policy name.
    pub spaces: BTreeMap<String, Space>,
}

/// The key space of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// What its plan names its way of making keys.
    pub key_schema: String,
    /// The operator's number.
    pub key_epoch: u64,
}

/// Why a ledger can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret is another one.
    #[error(
        "the ledger has another secret than `ledger.secret_file`: its records could not be found again; use the secret that it was made with, or another store"
    )]
    Secret,
    /// What is stored of it can't be read.
    #[error(
        "the ledger's own document `{0}` can't be read: the data folder is damaged or a later version wrote it; use that version, or another folder"
    )]
    Damaged(&'static str),
    /// Keys would change while records live.
    #[error("keys would change while the ledger holds live records, and operations in it would run again: {}", .0.join("; "))]
    Changed(Vec<String>),
}

impl Identity {
    /// In what way `self` makes other keys than `before`, in words. Policies and routes that only
    /// one of them has are no difference; nor are key spaces of policies that have a list of them in
    /// `lists`, where a change is migrated.
    pub fn differences(&self, before: &Self, lists: &KeySpaces) -> Vec<String> {
        let mut found = Vec::new();
        if self.deployment != before.deployment {
            found.push(format!(
                "`ledger.deployment` was {:?} and is {:?}",
                before.deployment, self.deployment
            ));
        }
        if self.normalisation != before.normalisation {
            found.push(format!(
                "this version normalises by rules {}, the ledger by {}",
                self.normalisation, before.normalisation
            ));
        }
        for (route, sources) in &self.principals {
            if let Some(old) = before.principals.get(route)
                && old != sources
            {
                found.push(format!("route `{route}` takes principals from {sources}, before from {old}"));
            }
        }
        for (policy, space) in &self.spaces {
            let Some(old) = before.spaces.get(policy).filter(|_| lists.list(policy).is_none()) else {
                continue;
            };
            if old.key_schema != space.key_schema {
                found.push(format!(
                    "policy `{policy}` has key-schema {:?}, before {:?}",
                    space.key_schema, old.key_schema
                ));
            }
            if old.key_epoch != space.key_epoch {
                found.push(format!(
                    "policy `{policy}` has key_epoch {}, before {}",
                    space.key_epoch, old.key_epoch
                ));
            }
        }
        found
    }

    /// Both, with `self` where they differ.
    fn merged(&self, before: &Self) -> Self {
        let mut all = before.clone();
        all.principals.extend(self.principals.clone());
        all.spaces.extend(self.spaces.clone());
        Self { deployment: self.deployment.clone(), normalisation: self.normalisation, ..all }
    }
}

impl<S: Store> Ledger<S> {
    /// The ledger's secret: the stored one; at the first start `configured`, or a random one.
    pub async fn secret(&self, configured: Option<[u8; 32]>) -> Result<Secret, IdentityError> {
        let mut fresh = [0; 32];
        match configured {
            Some(secret) => fresh = secret,
            None => getrandom::fill(&mut fresh)
                .expect("the kernel's random source doesn't fail once it is seeded"),
        }
        let stored = match self.store.load_meta(SECRET).await? {
            Some((_, stored)) => stored,
            None => match self.store.swap_meta(SECRET, None, Bytes::copy_from_slice(&fresh)).await? {
                Swap::Done(_) => return Ok(Secret::new(fresh)),
                Swap::Conflict(standing) => standing.ok_or(IdentityError::Damaged(SECRET))?.1,
            },
        };
        let stored: [u8; 32] = stored[..].try_into().map_err(|_| IdentityError::Damaged(SECRET))?;
        match configured {
            Some(configured) if configured != stored => Err(IdentityError::Secret),
            _ => Ok(Secret::new(stored)),
        }
    }

    /// Makes `identity` the ledger's, unless keys would change while records live.
    ///
    /// `running`: requests decided under the old identity may still be on their way, so that even
    /// a ledger without records must not change.
    pub async fn agree(&self, identity: &Identity, running: bool) -> Result<(), IdentityError> {
        loop {
            let stored = self.store.load_meta(IDENTITY).await?;
            let (expected, next) = match &stored {
                None => (None, identity.clone()),
                Some((version, bytes)) => {
                    let before: Identity =
                        serde_json::from_slice(bytes).map_err(|_| IdentityError::Damaged(IDENTITY))?;
                    let (_, lists) = self.load_spaces().await?;
                    let differences = identity.differences(&before, &lists);
                    if !differences.is_empty() && (running || self.has_live_records().await?) {
                        return Err(IdentityError::Changed(differences));
                    }
                    let next = identity.merged(&before);
                    if next == before {
                        return Ok(());
                    }
                    (Some(*version), next)
                }
            };
            let bytes = serde_json::to_vec(&next).map_err(|_| IdentityError::Damaged(IDENTITY))?;
            if let Swap::Done(_) = self.store.swap_meta(IDENTITY, expected, bytes.into()).await? {
                return Ok(());
            }
        }
    }
}
