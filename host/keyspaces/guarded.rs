//! Operations that a policy no longer guards and an older generation does. They are guarded as long as that
//! is needed, and their key space is pinned to the list meanwhile (`design/key-changes.md`).
//!
//! Such a request has no key in the space by which its gateway decides, which is the one that every gateway
//! has in common with it. So the space by whose key the request is claimed must not leave before the request
//! does. Other gateways could enter without that space, and claim the operation under keys unknown to this
//! gateway.

use super::pins::SpacePin;
use super::pointers;
use super::registry::{SpaceRegistry, SpacesError};
use oncegate_core::{OperationId, SpaceNumber};
use oncegate_store::{DocumentError, Store, StoreError};
use std::sync::Arc;

impl<S: Store> SpaceRegistry<S> {
    /// The older generation that still guards an operation though the active generation doesn't: the one of
    /// the highest space by whose key the operation [stays guarded](Self::stays_guarded). `older`: the
    /// generations that would guard it, lowest number of their spaces first. `key`: their space, and the
    /// operation's key there. Returns the place in `older`.
    pub async fn older_guard<T>(
        &self,
        (policy, version): (&Arc<str>, u64),
        older: &[T],
        key: impl Fn(&T) -> (SpaceNumber, OperationId),
    ) -> Result<Option<(usize, SpacePin)>, StoreError> {
        for (place, one) in older.iter().enumerate().rev() {
            let (space, id) = key(one);
            if let Some(pin) = self.stays_guarded(policy, (space, version), id).await? {
                return Ok(Some((place, pin)));
            }
        }
        Ok(None)
    }

    /// Whether an operation that the active generation of its policy doesn't guard stays guarded by its key
    /// in an older space. The operation stays guarded while another gateway or request still decides by that
    /// space. It also stays guarded as long as there is a record of it, so that no operation runs again
    /// because it is no longer guarded. The pin then keeps the space on the list until the operation is over.
    /// `version`: of the list by which the operation's keys were derived. Where the list has changed by now,
    /// nobody can tell, and asking again a little later helps.
    pub async fn stays_guarded(
        &self,
        policy: &Arc<str>,
        (space, version): (SpaceNumber, u64),
        id: OperationId,
    ) -> Result<Option<SpacePin>, StoreError> {
        if !self.is_decided_by(policy, space) && !pointers::knows(&self.store, id).await? {
            return Ok(None);
        }
        // The pin comes first, so that every later write of the list includes it.
        let pin = self.pins.begin((policy.clone(), space));
        let term = self.term();
        if pin.is_noted(term, version) && self.holds_since(term) {
            return Ok(Some(pin));
        }
        let place = (space, version);
        let noted =
            self.change_as_member(|spaces, now| Ok(spaces.pin(self.gateway(), policy, place, now))).await;
        match noted {
            Ok((true, term)) => {
                pin.note(term, version);
                Ok(Some(pin))
            }
            Ok((false, _)) => Err(lapsed()),
            Err(SpacesError::Read(DocumentError::Store(error))) => Err(error),
            Err(error) => Err(StoreError::Unavailable(error.to_string().into())),
        }
    }
}

/// The error of a claim when the lease on the lists is over.
pub fn lapsed() -> StoreError {
    StoreError::Unavailable(
        "this gateway's lease on the list of key spaces is over, or keys are made in another way from now on"
            .into(),
    )
}
