//! Loads the generations of policies that derive keys in older key spaces.

use super::archive::{Archive, deriver};
use crate::config::Config;
use crate::keyspaces::{Loaded, Loader};
use crate::policy::{Engine, Generation, LoadError};
use oncegate_core::keyspaces::list::Deriver;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Loads generations of the policies of one configuration.
#[derive(Clone, Copy, Debug)]
pub struct PolicyLoader<'a> {
    /// The configuration, whose limits hold for older generations, too.
    pub config: &'a Config,
    /// Loads components.
    pub engine: &'a Arc<Engine>,
    /// The archive of the components that older generations are made of.
    pub archive: &'a Archive,
}

/// Why loading broke off.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// The component or the settings of a generation can't be stored.
    #[error("what makes the keys of policy `{0}` can't be kept for later restarts in {1}: {2}")]
    Archive(Arc<str>, PathBuf, io::Error),
    /// A thread of the loading died.
    #[error("the loading broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl Loader for PolicyLoader<'_> {
    type Generation = Arc<Generation>;
    type Error = LoaderError;

    fn deriver(&self, generation: &Arc<Generation>) -> Deriver {
        deriver(generation)
    }

    async fn store(&self, policy: &Arc<str>, generation: &Arc<Generation>) -> Result<(), LoaderError> {
        let Some(config) = self.config.policies.get(policy) else { return Ok(()) };
        let (archive, source, generation) =
            (self.archive.clone(), config.component.clone(), generation.clone());
        let stored = spawn_blocking(move || archive.store(&source, &generation)).await?;
        stored.map_err(|error| LoaderError::Archive(policy.clone(), self.archive.folder(), error))
    }

    async fn load(
        &self,
        policy: &Arc<str>,
        deriver: &Deriver,
    ) -> Result<Loaded<Arc<Generation>>, LoaderError> {
        let Some(like) = self.config.policies.get(policy).cloned() else {
            return Ok(Loaded::Missing("the policy is not in the configuration".into()));
        };
        let (archive, engine, deriver) = (self.archive.clone(), self.engine.clone(), deriver.clone());
        let load = move || {
            let policy = archive.policy(&deriver, &like)?;
            let generation = engine.load(&policy).map_err(|error: LoadError| error.to_string())?;
            match generation.plan().key_schema == deriver.key_schema {
                true => Ok(generation),
                false => Err(format!("it now has the key-schema {:?}", generation.plan().key_schema)),
            }
        };
        Ok(match spawn_blocking(load).await? {
            Ok(generation) => Loaded::Ready(generation),
            Err(why) => Loaded::Missing(why),
        })
    }
}
