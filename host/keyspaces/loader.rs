//! What loads the generations that derive keys. The gateway's loads policies; the simulation has its own.

use oncegate_core::keyspaces::list::Deriver;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// Generations by policy name.
pub type GenerationTable<G> = BTreeMap<Arc<str>, G>;

/// Loads the generations that derive keys.
pub trait Loader {
    /// What derives keys.
    type Generation: Clone;
    /// Why loading broke off.
    type Error;

    /// What a generation is made of.
    fn deriver(&self, generation: &Self::Generation) -> Deriver;

    /// Stores what a generation is made of, so that it can be loaded after a restart. Called before anything is
    /// claimed by its keys.
    fn store(
        &self,
        policy: &Arc<str>,
        generation: &Self::Generation,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Loads the generation that is made of this.
    fn load(
        &self,
        policy: &Arc<str>,
        deriver: &Deriver,
    ) -> impl Future<Output = Result<Loaded<Self::Generation>, Self::Error>>;
}

/// What came of loading a generation.
#[derive(Clone, Debug)]
pub enum Loaded<G> {
    /// It is loaded.
    Ready(G),
    /// It can't be loaded now, for this reason.
    Missing(String),
}
