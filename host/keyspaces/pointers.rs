//! Pointers: records under an operation's older keys that lead to the record of its newest key, which alone
//! has state and answer (`design/key-changes.md`).

use oncegate_core::{OperationId, Pointer, Record, State, Timestamp, View};
use oncegate_store::{Confirmed, Store, StoreError, Swap, Version, Versioned};
use std::sync::Arc;
use std::time::Duration;

/// How many pointers are followed at most, as in the claim.
const LINKS_MAX: usize = 16;

/// Removes a pointer that had lapsed before its target was found missing, or sets when to look again. True:
/// the pointer is gone.
pub async fn sweep<S: Store>(
    store: &Confirmed<S>,
    id: OperationId,
    current: &Versioned,
) -> Result<bool, StoreError> {
    let State::Pointer(pointer) = &current.record.state else { return Ok(false) };
    let now = store.clock().now();
    let (found, lease_until) = end_of(store, current, now).await?;
    let next = match found {
        None if lease_until <= now => None,
        found => {
            let look_at = found.map_or(lease_until, |end| look_again(&end.record, now)).max(now);
            if look_at == pointer.look_at {
                return Ok(false);
            }
            let pointer = Pointer { look_at, ..*pointer };
            let record = (*current.record).clone();
            Some(Arc::new(Record { state: State::Pointer(pointer), ..record }))
        }
    };
    let removes = next.is_none();
    let swap = store.swap(id, Some(current.version), next, now).await?;
    Ok(removes && matches!(swap, Swap::Done(_)))
}

/// The end of the pointers that begin with `pointer`, and when the last of their leases ends. Nothing is
/// found only where nobody wrote over one of the pointers meanwhile. Where somebody did, the pointer counts
/// as one with a live lease. Pointers that lead in a circle lead to nothing.
async fn end_of<S: Store>(
    store: &Confirmed<S>,
    pointer: &Versioned,
    now: Timestamp,
) -> Result<(Option<Versioned>, Timestamp), StoreError> {
    let mut lease = Timestamp::default();
    let mut way: Vec<(OperationId, Version)> = Vec::new();
    let mut at = pointer.clone();
    while let State::Pointer(pointer) = &at.record.state {
        lease = lease.max(pointer.lease_until);
        let target = pointer.target;
        let passed = way.iter().any(|(id, _)| *id == target);
        let found = if passed { None } else { store.load(target).await? };
        match found.filter(|found| found.record.view(now) != View::Absent) {
            Some(_) if way.len() >= LINKS_MAX => return Ok((None, Timestamp::MAX)),
            Some(found) => {
                way.push((target, found.version));
                at = found;
            }
            None => {
                for (id, version) in way {
                    if store.load(id).await?.is_none_or(|found| found.version != version) {
                        return Ok((None, now.plus(Duration::from_secs(1))));
                    }
                }
                return Ok((None, lease));
            }
        }
    }
    Ok((Some(at), lease))
}

/// The record of an operation, by the id of its record or of a pointer to it.
pub async fn find<S: Store>(store: &Confirmed<S>, id: OperationId) -> Result<Option<Versioned>, StoreError> {
    let Some(found) = store.load(id).await? else { return Ok(None) };
    match found.record.state {
        State::Pointer(_) => Ok(end_of(store, &found, store.clock().now()).await?.0),
        _ => Ok(Some(found)),
    }
}

/// Whether an operation has a record that a duplicate would be told of.
pub async fn knows<S: Store>(store: &Confirmed<S>, id: OperationId) -> Result<bool, StoreError> {
    let found = find(store, id).await?;
    Ok(found.is_some_and(|found| found.record.view(store.clock().now()) != View::Absent))
}

/// When a pointer to this record is next looked at: when the record is forgotten. A record without an outcome
/// will mostly be forgotten much sooner than an unknown outcome would be.
fn look_again(end: &Record, now: Timestamp) -> Timestamp {
    match end.unknown_since() {
        Some(_) => end.forgotten_at().min(now.plus(end.times.memory.max(end.times.lease))),
        None => end.forgotten_at(),
    }
}
