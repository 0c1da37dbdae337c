//! The facts that all gateways on a ledger must agree on: the secret, and how keys are made.
//!
//! A ledger whose keys are made in another way finds none of its records again, and would run every operation
//! a second time. So the identity is kept in the store, and a change is refused that would take the key of
//! any live record.

use super::routes::RouteTable;
use oncegate_core::normal::reads_alike;
use oncegate_core::normal::rules_of;
use oncegate_core::{KeySpaces, Record};
use oncegate_store::{DocumentError, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How keys are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The deployment's name.
    pub deployment: String,
    /// The number of the rules by which the host normalises what goes into keys.
    pub normalisation: u16,
    /// Which requests meet which policy, and the sources of their principals.
    #[serde(default)]
    pub routes: RouteTable,
    /// Key spaces by policy name.
    pub spaces: BTreeMap<String, PolicySpace>,
}

/// The key space of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySpace {
    /// The name that the policy's plan gives to its way of making keys.
    pub key_schema: String,
    /// The operator's number.
    pub key_epoch: u64,
}

/// Why a ledger can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The store failed, or a document can't be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The secret is another one, and there are records.
    #[error(
        "the ledger has another secret than `ledger.secret_file`: what it has records of would not be found again, and run again: {0}. Use the secret that it was made with, or another store, or give the \
         records up with `--accept-duplicates`"
    )]
    Secret(String),
    /// The secret is another one, and other gateways (by name) use the secret that the ledger has.
    #[error(
        "the ledger has another secret than `ledger.secret_file`, and another gateway on it ({0}) makes keys by that: \
         every operation could run once by each; use the secret that the ledger has, or stop the other one first"
    )]
    SecretInUse(String),
    /// Keys would change while records live.
    #[error(
        "operations that the ledger has live records of would get other keys and run again: {}. Keep what it was; or \
         wait until these records are forgotten (`oncegate ops list` shows them); or give them up with \
         `--accept-duplicates`", .0.join("; ")
    )]
    Changed(Vec<String>),
    /// Another gateway changed the identity at the same time.
    #[error("another gateway changed how the ledger's keys are made at the same time: try again")]
    Overtaken,
}

impl From<StoreError> for IdentityError {
    fn from(error: StoreError) -> Self {
        Self::Document(error.into())
    }
}

impl Identity {
    /// Whether records have to be looked at to know whether they would keep their keys by `self`.
    pub(super) fn may_lose(&self, before: &Self, lists: &KeySpaces) -> bool {
        self.is_at_odds_with(before)
            || before.spaces.keys().any(|policy| self.other_space(before, lists, policy).is_some())
    }

    /// Whether two gateways, one by `self` and one by `before`, could make different keys of one operation,
    /// apart from key spaces.
    pub(super) fn is_at_odds_with(&self, before: &Self) -> bool {
        self.deployment != before.deployment
            || self.normalisation != before.normalisation
            || before.routes.may_lose_to(&self.routes)
    }

    /// How a record that was made by `before` would lose its key by `self`, in words.
    pub(super) fn loss(&self, before: &Self, lists: &KeySpaces, record: &Record) -> Option<String> {
        let origin = &record.origin;
        if self.deployment != before.deployment {
            return Some(format!(
                "`ledger.deployment` was {:?} and would be {:?}",
                before.deployment, self.deployment
            ));
        }
        if self.normalisation != before.normalisation
            && self.normalisation != origin.normalisation
            && !reads_alike(self.normalisation, origin)
        {
            return Some(format!(
                "path and host would be read {} (`server.paths`), and were read {}",
                rules_of(self.normalisation),
                rules_of(origin.normalisation)
            ));
        }
        let space = self.other_space(before, lists, &origin.policy);
        space.or_else(|| before.routes.loss(&self.routes, origin))
    }

    /// How a policy's key space differs, where there is no list of key spaces by which a change is migrated.
    fn other_space(&self, before: &Self, lists: &KeySpaces, policy: &str) -> Option<String> {
        let (old, new) = (before.spaces.get(policy)?, self.spaces.get(policy)?);
        (lists.list(policy).is_none() && old != new).then(|| {
            format!(
                "policy `{policy}` would have key-schema {:?} and key_epoch {}, and had {:?} and {}",
                new.key_schema, new.key_epoch, old.key_schema, old.key_epoch
            )
        })
    }

    /// Both identities together, with `self` where they differ.
    pub(super) fn merged(&self, before: &Self) -> Self {
        let mut spaces = before.spaces.clone();
        spaces.extend(self.spaces.clone());
        Self { spaces, ..self.clone() }
    }
}
