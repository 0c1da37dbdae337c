//! What the writer must know of a record, found without the record: a recorded answer may be long, and all
//! others wait while the writer reads it.
//!
//! The entry in the due index has the record's head. Its key needs the due time, so the times of a search for
//! due records are kept until the next search: the swaps that follow it are of these records. An entry that an
//! earlier version of Oncegate wrote has no head in it.

use super::tables::{Head, Tables, due_key, read_error};
use crate::{Kind, StoreError, Version};
use oncegate_core::{OperationId, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// When the records of the last search are due.
#[derive(Default)]
pub(super) struct FoundDue(Mutex<HashMap<OperationId, Timestamp>>);

impl FoundDue {
    pub(super) fn note(&self, found: &[(Timestamp, OperationId)]) {
        *self.times() = found.iter().map(|(due, id)| (*id, *due)).collect();
    }

    /// The time of one of them, which is not told again.
    pub(super) fn take(&self, id: OperationId) -> Option<Timestamp> {
        self.times().remove(&id)
    }

    fn times(&self) -> MutexGuard<'_, HashMap<OperationId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// The head of the record that is due at this time; `None`: only the record tells.
    pub(super) fn head(&self, id: OperationId, due: Timestamp) -> Result<Option<Head>, StoreError> {
        let value = self.due.get(due_key(due, id)).map_err(read_error)?;
        let Some((version, [kind])) = value.as_deref().and_then(|value| value.split_first_chunk()) else {
            return Ok(None);
        };
        let version = Version(u64::from_be_bytes(*version));
        Ok(Kind::from_number(*kind).map(|kind| Head { version, due, kind }))
    }

    /// Whether there is a record under an id. It isn't read.
    pub(super) fn has_record(&self, id: OperationId) -> Result<bool, StoreError> {
        self.records.contains_key(id.0).map_err(read_error)
    }
}

impl Head {
    /// What stands of the record in the due index.
    pub(super) fn due_value(&self) -> [u8; 9] {
        let mut value = [0; 9];
        value[..8].copy_from_slice(&self.version.0.to_be_bytes());
        value[8] = self.kind as u8;
        value
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::conformance::{completed, executing, id, on_a_runtime, put, record};
    use crate::embedded::Embedded;
    use crate::{Store, Swap};
    use fjall::PersistMode;
    use oncegate_core::{Durability, State, UnknownReason};
    use tempfile::tempdir;

    /// Each write leaves the head in the due index, where the record is due at another time and where not.
    #[test]
    fn the_due_index_has_the_head_of_each_record() {
        let folder = tempdir().unwrap();
        let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
        let unknown = |since| {
            record(State::Unknown { since: Timestamp::from_secs(since), reason: UnknownReason::Broken })
        };
        let life =
            [executing(3_000), executing(3_000), unknown(2_000), unknown(2_000), completed(2_000, 20_000)];
        let mut version = None;
        for next in life {
            let put_version = on_a_runtime(put(&store, id(1), version, Some(next.clone())));
            let tables = store.shared.tables().unwrap();
            let head = tables.head(id(1), next.due_at()).unwrap();
            assert_eq!(head, Some(tables.record(id(1)).unwrap().unwrap().head), "{:?}", next.state);
            assert_eq!(head.map(|head| head.version), Some(put_version));
            version = Some(put_version);
        }
        let (due, removed) =
            (completed(2_000, 20_000).due_at(), on_a_runtime(put(&store, id(1), version, None)));
        assert!(version < Some(removed));
        assert_eq!(store.shared.tables().unwrap().head(id(1), due).unwrap(), None);
    }

    /// A swap after a search for due records wins and loses as it would by the record, also where an earlier
    /// version has left the index without heads, or with old ones.
    #[test]
    fn a_swap_of_what_is_due_is_decided_as_ever() {
        for entry in [None, Some(&b""[..]), Some(&[0, 0, 0, 0, 0, 0, 0, 0, 2])] {
            let folder = tempdir().unwrap();
            let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
            on_a_runtime(async {
                for n in 0..6 {
                    let version = put(&store, id(n), None, Some(completed(2_000, 20_000))).await;
                    if let Some(entry) = entry {
                        let tables = store.shared.tables().unwrap();
                        let mut batch = tables.batch(1, PersistMode::Buffer);
                        batch.insert(&tables.due, due_key(completed(2_000, 0).due_at(), id(n)), entry);
                        batch.commit().unwrap();
                    }
                    assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap().value, [id(n)]);
                    // A stale version loses, and brings the record along.
                    let stale = (n % 2 == 0).then_some(Version(version.0 - 1)).filter(|stale| stale.0 > 0);
                    let lost = store.swap(id(n), stale, None, Timestamp::default()).await.unwrap().value;
                    let Swap::Conflict(Some(standing)) = lost else { panic!("{lost:?}") };
                    assert_eq!((standing.version, standing.record), (version, completed(2_000, 20_000)));
                    store.due(Timestamp::MAX, 10).await.unwrap();
                    let version = match n < 3 {
                        true => put(&store, id(n), Some(version), Some(executing(9_000))).await,
                        false => version,
                    };
                    put(&store, id(n), Some(version), None).await;
                    assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap().value, []);
                }
            });
            assert_eq!(store.size().records, 0);
            store.close().unwrap();
        }
    }
}
