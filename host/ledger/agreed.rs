//! The documents in the store by which gateways agree on how keys are made: the secret and the identity.

use super::identity::{Identity, IdentityError};
use super::state::Ledger;
use super::survey::in_words;
use bytes::Bytes;
use oncegate_core::{LostRecords, Secret};
use oncegate_keyspaces::by_id;
use oncegate_store::{DocumentError, Store, Swap, Version};

const SECRET: &str = "secret";
const IDENTITY: &str = "identity";
/// How often other gateways may write the document between reading and writing it. More means that they do it
/// all the time.
pub(super) const TRIES: usize = 16;

impl<S: Store> Ledger<S> {
    /// The ledger's secret: the stored one, or at the first start `configured` or a random one. Another
    /// configured secret replaces the stored one where no other gateway uses that, and no record lives or all
    /// may be given up. The list of key spaces must be joined (`SpaceRegistry::join`) before, so that other
    /// gateways do not replace the returned secret.
    pub async fn secret(
        &self,
        configured: Option<[u8; 32]>,
        lost: LostRecords,
    ) -> Result<Secret, IdentityError> {
        let mut fresh = [0; 32];
        match configured {
            Some(secret) => fresh = secret,
            None => getrandom::fill(&mut fresh)
                .expect("the kernel's random source doesn't fail once it is seeded"),
        }
        for _ in 0..TRIES {
            let (expected, stored) = match self.store.load_meta(SECRET).await? {
                None => (None, None),
                Some((version, bytes)) => {
                    let stored: [u8; 32] =
                        bytes[..].try_into().map_err(|_| DocumentError::Damaged(SECRET))?;
                    (Some(version), Some(stored))
                }
            };
            match stored {
                Some(stored) if configured.is_none_or(|configured| configured == stored) => {
                    return Ok(Secret::new(stored));
                }
                Some(_) => {
                    self.is_no_others().await?;
                    if lost == LostRecords::Refuse {
                        self.lives_nothing().await?;
                    }
                    tracing::warn!("the ledger gets another secret: what it has records of is given up");
                }
                None => {}
            }
            let bytes = Bytes::copy_from_slice(&fresh);
            if let Swap::Done(_) = self.store.swap_meta(SECRET, expected, bytes).await? {
                return Ok(Secret::new(fresh));
            }
        }
        Err(IdentityError::Overtaken)
    }

    /// Refuses a configured secret where the ledger has another one, and live records or gateways that use
    /// it.
    pub async fn may_get_secret(&self, configured: &[u8; 32]) -> Result<(), IdentityError> {
        match self.store.load_meta(SECRET).await? {
            Some((_, stored)) if stored[..] != configured[..] => {
                self.is_no_others().await?;
                self.lives_nothing().await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses where other gateways live, even if records are given up: they would go on with their secret.
    async fn is_no_others(&self) -> Result<(), IdentityError> {
        match &self.spaces.others_alive().await?[..] {
            [] => Ok(()),
            others => Err(IdentityError::SecretInUse(by_id(others))),
        }
    }

    async fn lives_nothing(&self) -> Result<(), IdentityError> {
        match &in_words(&self.survey(|_| Some("operations".to_owned())).await?)[..] {
            [] => Ok(()),
            live => Err(IdentityError::Secret(live.join("; "))),
        }
    }

    /// The document, if there is one.
    pub(super) async fn identity(&self) -> Result<Option<(Version, Identity)>, IdentityError> {
        let stored = self.store.load_meta(IDENTITY).await?;
        let read = |(version, bytes): (Version, Bytes)| {
            let identity = serde_json::from_slice(&bytes).map_err(|_| DocumentError::Damaged(IDENTITY))?;
            Ok((version, identity))
        };
        stored.map(read).transpose()
    }

    /// Writes the document, if it has not changed since it was read.
    pub(super) async fn write_identity(
        &self,
        expected: Option<Version>,
        next: &Identity,
    ) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec(next).map_err(|_| DocumentError::Damaged(IDENTITY))?;
        match self.store.swap_meta(IDENTITY, expected, bytes.into()).await? {
            Swap::Done(_) => Ok(()),
            Swap::Conflict(_) => Err(IdentityError::Overtaken),
        }
    }
}
