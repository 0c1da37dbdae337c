//! The interface that loads the generations that derive keys. The gateway's loader loads policies; the
//! simulation has its own.

use oncegate_core::keyspaces::list::Deriver;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// Generations by policy name.
pub type GenerationTable<G> = BTreeMap<Arc<str>, G>;

/// Loads the generations that derive keys.
pub trait Loader {
    /// A generation, which derives keys.
    type Generation: Clone;
    /// Why loading broke off.
    type Error;

    /// The component and settings that a generation is made of.
    fn deriver(&self, generation: &Self::Generation) -> Deriver;

    /// Stores the component and settings of a generation, so that it can be loaded after a restart. Called
    /// before anything is claimed by the generation's keys.
    fn store(
        &self,
        policy: &Arc<str>,
        generation: &Self::Generation,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Loads the generation of this deriver.
    fn load(
        &self,
        policy: &Arc<str>,
        deriver: &Deriver,
    ) -> impl Future<Output = Result<Loaded<Self::Generation>, Self::Error>>;
}

/// The result of loading a generation.
#[derive(Clone, Debug)]
pub enum Loaded<G> {
    /// The generation is loaded.
    Ready(G),
    /// The generation can't be loaded now, for this reason.
    Missing(String),
}
