//! Why a configuration is not put in force.

use super::report::{IDENTITY, KEY_SPACES};
use super::{LoaderError, PromiseBroken};
use crate::config::{Config, Fault, Faults, Place, StoreKind};
use crate::keyspaces::{ResolveError, SpacesError};
use crate::ledger::IdentityError;
use crate::policy::{LoadError, Step};
use crate::store::{OpenError, StoreError};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a start, a reload or a check is refused. The active configuration stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The configuration has faults.
    #[error("{0}")]
    Config(Faults),
    /// The ledger can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data folder is another user's, and a check would leave files in it.
    #[error(
        "the data folder {} belongs to user {owner}, and this is user {own}: it was not looked into, so nobody knows \
         whether a start would be refused", .folder.display()
    )]
    Anothers {
        /// The folder.
        folder: PathBuf,
        /// The user that it belongs to.
        owner: u32,
        /// This user.
        own: u32,
    },
    /// The ledger can't be read.
    #[error("the ledger can't be read: {0}")]
    Unreadable(#[from] StoreError),
    /// The configuration changes a setting that can't change while the gateway runs.
    #[error("{} can't change while the gateway runs: restart it, or put the old value back", .0.join(", "))]
    Unchangeable(Vec<String>),
    /// A policy doesn't load.
    #[error("{0}")]
    Policy(#[from] LoadError),
    /// A policy breaks the promise of its key-schema.
    #[error("{0}")]
    Promise(PromiseBroken),
    /// Keys would change.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// Keys can't be derived in all key spaces.
    #[error("{0}")]
    KeySpaces(#[from] ResolveError<LoaderError>),
    /// No policy has this name.
    #[error("there is no policy `{0}`; there are: {1}")]
    NoSuchPolicy(String, String),
    /// There is nothing to go back to.
    #[error(
        "policy `{0}` has had no other generation since the gateway started: there is nothing to go back to"
    )]
    NothingBefore(Arc<str>),
    /// A thread of the loading died.
    #[error("the loading broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl From<SpacesError> for ActivationError {
    fn from(error: SpacesError) -> Self {
        Self::KeySpaces(error.into())
    }
}

impl ActivationError {
    /// The policy that could not be loaded, and the steps of its load; the last one failed.
    pub fn failed_load(&self) -> Option<(&Arc<str>, &[Step])> {
        match self {
            Self::Policy(fault) => Some((&fault.policy, &fault.steps)),
            Self::Promise(broken) => Some((&broken.policy, &broken.steps)),
            Self::Config(_)
            | Self::Open(_)
            | Self::Anothers { .. }
            | Self::Unreadable(_)
            | Self::Unchangeable(_)
            | Self::Identity(_)
            | Self::KeySpaces(_)
            | Self::NoSuchPolicy(..)
            | Self::NothingBefore(_)
            | Self::Broken(_) => None,
        }
    }

    /// The step that refused (`design/loading.md`); none: no step was taken.
    pub fn step(&self) -> Option<&'static str> {
        let failed = |steps: &[Step]| steps.iter().find(|step| !step.ok).map(|step| step.step);
        match self {
            Self::Config(_) | Self::Unchangeable(_) => Some("configuration"),
            Self::Policy(_) | Self::Promise(_) => {
                // What its routes ask of a policy is asked when its load is done.
                Some(self.failed_load().and_then(|(_, steps)| failed(steps)).unwrap_or("routes"))
            }
            Self::Identity(_) => Some(IDENTITY),
            Self::KeySpaces(_) => Some(KEY_SPACES),
            Self::Open(_) | Self::Anothers { .. } | Self::Unreadable(_) => Some("ledger"),
            Self::NoSuchPolicy(..) | Self::NothingBefore(_) | Self::Broken(_) => None,
        }
    }

    /// The policy that is at fault, if one is.
    pub(super) fn policy(&self) -> Option<&Arc<str>> {
        match self {
            Self::NothingBefore(name) => Some(name),
            other => other.failed_load().map(|(policy, _)| policy),
        }
    }

    /// The faults with their places and remedies, if places in the configuration are at fault.
    pub fn faults(&self) -> Option<&Faults> {
        match self {
            Self::Config(faults) => Some(faults),
            Self::Policy(error) => error.faults.as_ref(),
            _ => None,
        }
    }

    /// The fault that the ledger of this configuration refuses it, with the places of both.
    pub fn of_ledger(&self, config: &Config) -> Fault {
        let key = match self {
            Self::Open(OpenError::Mark(_)) => "ledger.mark_file",
            Self::Identity(IdentityError::Secret(_) | IdentityError::SecretInUse(_)) => "ledger.secret_file",
            Self::Open(_)
            | Self::Anothers { .. }
            | Self::Unreadable(_)
            | Self::KeySpaces(ResolveError::Loader(LoaderError::Archive(..))) => "ledger.path",
            // The text says what is at odds, and there may be more than one.
            _ => "ledger",
        };
        let place = match &config.ledger.store {
            StoreKind::Embedded(folder) => {
                Place::Ledger { folder: folder.clone(), named: Box::new(config.settings.key(key)) }
            }
            StoreKind::Memory => Place::Machine,
        };
        let help = match self {
            Self::Anothers { owner, .. } => {
                format!("check as the user that serves: `sudo -u '#{owner}' oncegate check …`")
            }
            _ => String::new(),
        };
        Fault { place, key: key.into(), problem: self.to_string(), help }
    }

    /// True if the mistake is in the command that was typed, and not in a file.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(faults) if faults.are_usage())
    }
}
