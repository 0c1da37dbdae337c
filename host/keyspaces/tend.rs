//! Keeps a gateway's place on the lists of key spaces. The gateway says by which spaces it decides, removes
//! the spaces that nothing needs any more, and derives keys by the present lists.

use super::active::{SpaceGuards, SpaceTable};
use super::loader::{GenerationTable, Loader};
use super::registry::SpaceRegistry;
use super::resolver::{InForce, ResolveError, SpaceResolver};
use oncegate_core::LostRecords;
use oncegate_store::Store;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// How often the lists are tended.
#[derive(Clone, Copy, Debug)]
pub struct TendTimes {
    /// The interval while a policy has several spaces.
    pub open: Duration,
    /// The interval while no policy has several.
    pub idle: Duration,
    /// The first wait before a missing generation is tried again; each further wait is twice as long.
    pub again: Duration,
    /// The longest such wait.
    pub again_max: Duration,
}

impl TendTimes {
    /// The times of a gateway with this lease on the lists; `None`: the lease never ends.
    pub fn with_lease(lease: Option<Duration>) -> Self {
        Self {
            open: Duration::from_millis(500),
            idle: lease.map_or(Duration::from_secs(600), |lease| lease / 3),
            again: Duration::from_secs(2),
            again_max: Duration::from_secs(60),
        }
    }
}

/// The generations and spaces by which keys are derived at a moment.
pub trait Deriving {
    /// A generation, which derives keys.
    type Generation;

    /// The active generations.
    fn generations(&self) -> &GenerationTable<Self::Generation>;

    /// The key spaces of these generations.
    fn spaces(&self) -> &SpaceTable<Self::Generation>;
}

/// A gateway whose place on the lists is tended.
pub trait Tended {
    /// The gateway's store.
    type Store: Store;
    /// The generations and spaces by which it derives keys at a moment.
    type Active: Deriving;
    /// The loader of older generations.
    type Loader<'a>: Loader<Generation = GenerationOf<Self>, Error = Self::LoadError>
    where
        Self: 'a;
    /// Why loading broke off.
    type LoadError: fmt::Display;

    /// The lists.
    fn registry(&self) -> &SpaceRegistry<Self::Store>;

    /// The guards of the spaces by which this gateway decides.
    fn guards(&self) -> &SpaceGuards;

    /// The generations and spaces by which it derives keys now.
    fn active(&self) -> impl Deref<Target = Self::Active>;

    /// The loader of older generations beside these active ones.
    fn loader<'a>(&'a self, active: &'a Self::Active) -> Self::Loader<'a>;

    /// Derives keys in these spaces from now on, with the same active generations.
    fn put(&self, active: &Self::Active, spaces: SpaceTable<GenerationOf<Self>>);

    /// Called after each look: generations that nothing needs any more may go.
    fn tidy(&self) -> impl Future<Output = ()>;

    /// Held while the active generations or their spaces change.
    fn lock(&self) -> impl Future<Output = MutexGuard<'_, ()>>;

    /// Ends when the spaces have changed.
    fn changed(&self) -> impl Future<Output = ()>;

    /// How often the gateway's lists are tended. `lease`: its lease on the lists; `None`: the lease never
    /// ends.
    fn times(&self, lease: Option<Duration>) -> TendTimes {
        TendTimes::with_lease(lease)
    }
}

/// The generations that derive keys at a place.
type GenerationOf<T> = <<T as Tended>::Active as Deriving>::Generation;

/// Why a place can't be tended now.
pub type TendError<T> = ResolveError<<T as Tended>::LoadError>;

/// Whether generations that couldn't be loaded are tried again though the lists are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryMissing {
    /// Missing generations are tried again.
    Yes,
    /// Missing generations wait.
    No,
}

/// Tends the place for as long as the future is polled.
pub async fn tend<T: Tended>(place: &T) {
    let mut tried = Instant::now();
    let mut patience = None;
    loop {
        let lists = place.registry().lists();
        let open = lists.policies.values().any(|list| list.spaces.len() > 1);
        let times = place.times(place.registry().lease_length().await);
        let is_missing = !place.active().spaces().unavailable.is_empty();
        let wait = if is_missing { patience.unwrap_or(times.again) } else { times.again };
        let pause = if open { times.open } else { times.idle };
        let pause = if is_missing { pause.min(wait) } else { pause };
        let _ = tokio::time::timeout(pause, place.changed()).await;
        let _one = place.lock().await;
        patience = Some(wait);
        let retry = match is_missing && tried.elapsed() >= wait {
            true => RetryMissing::Yes,
            false => RetryMissing::No,
        };
        if retry == RetryMissing::Yes {
            tried = Instant::now();
            patience = Some((wait * 2).min(times.again_max));
        }
        if let Err(error) = tend_once(place, retry).await {
            tracing::warn!(%error, "the list of key spaces can't be kept: it is tried again");
        }
    }
}

/// Tends the place once. The caller holds the place's lock.
pub async fn tend_once<T: Tended>(place: &T, retry: RetryMissing) -> Result<(), TendError<T>> {
    let registry = place.registry();
    let is_member = registry.tend(&place.guards().deciding()).await?;
    let active = place.active();
    if retry == RetryMissing::Yes || !is_member || !active.spaces().is_up_to_date(registry) {
        let staying = active.generations().keys().cloned().collect();
        let in_force = InForce { generations: active.generations(), spaces: active.spaces(), staying };
        let resolver = SpaceResolver { registry, loader: place.loader(&active), lost: LostRecords::Refuse };
        let in_flight = place.guards().deciding();
        let next = resolver.resolve(active.generations(), Some(&in_force), &in_flight).await?.spaces;
        if next.unavailable != active.spaces().unavailable || !active.spaces().is_up_to_date(registry) {
            place.put(&active, next);
        }
    }
    place.tidy().await;
    Ok(())
}
