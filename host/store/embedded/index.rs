//! The index of unknown records. Each write keeps it, by gateways that know of it. An earlier version of
//! Oncegate opens the same folder, works as ever, and keeps none.
//!
//! So the document `indexed` holds the number up to which versions were reserved when the index was last known
//! to be whole. Every opening reserves more. Where the two differ, a gateway without an index has had the
//! folder, and the index is made anew.

use super::tables::{Own, StoredRecord, Tables, operation_of, read_error};
use crate::{Kind, StoreError};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};

const INDEXED: &[u8] = b"indexed";
/// The bound of one batch.
const PORTION: usize = 4096;

impl Tables {
    /// Makes the index whole, if it isn't. False: it can't be.
    pub(super) fn keep_index(&self, own: &Own) -> Result<bool, StoreError> {
        let kept = self.meta.get(INDEXED).map_err(read_error)?;
        if kept.is_some_and(|kept| *kept == own.versions_reserved.to_be_bytes()) {
            return Ok(true);
        }
        self.make_index(own.kinds.count(Kind::Unknown))
    }

    /// Notes that the index is whole, if it is.
    pub(super) fn put_indexed(&self, batch: &mut OwnedWriteBatch, own: Own) {
        if own.indexed {
            batch.insert(&self.meta, INDEXED, own.versions_reserved.to_be_bytes());
        }
    }

    /// Notes that there is no index.
    pub(super) fn forget_index(&self) -> fjall::Result<()> {
        match self.meta.contains_key(INDEXED)? {
            true => self.meta.remove(INDEXED),
            false => Ok(()),
        }
    }

    fn make_index(&self, unknown: u64) -> Result<bool, StoreError> {
        let stale = self.unknown.iter().map(|guard| guard.key().map_err(read_error));
        self.change_index(stale, |batch, index, key| batch.remove(index, key))?;
        if unknown == 0 {
            return Ok(true);
        }
        tracing::info!(unknown, "the index of unknown outcomes is made: every record is read once");
        let mut unreadable = None;
        let mut left = unknown;
        let found = self.records.iter().map_while(|guard| {
            if left == 0 {
                return None;
            }
            // Nobody knows the kind of a record that can't be read, and none behind it is found.
            let found = guard.into_inner().map_err(read_error).map_err(|error| unreadable = Some(error)).ok();
            let (key, value) = found?;
            let is = StoredRecord::try_new(value).is_ok_and(|stored| stored.head.kind == Kind::Unknown);
            left -= u64::from(is);
            Some((is && operation_of(&key).is_ok()).then_some(key))
        });
        self.change_index(found.flatten().map(Ok), |batch, index, key| batch.insert(index, key, []))?;
        if let Some(error) = &unreadable {
            tracing::error!(%error, "a record can't be read: unknown outcomes behind it are not listed as such");
        }
        Ok(unreadable.is_none())
    }

    fn change_index(
        &self,
        keys: impl Iterator<Item = Result<fjall::UserKey, StoreError>>,
        change: impl Fn(&mut OwnedWriteBatch, &Keyspace, fjall::UserKey),
    ) -> Result<(), StoreError> {
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            let mut batch = self.batch(PORTION, PersistMode::Buffer);
            for key in keys.by_ref().take(PORTION) {
                change(&mut batch, &self.unknown, key?);
            }
            let write = || {
                self.keep_back(|| ())?;
                batch.commit()?;
                self.seal_full()
            };
            write().map_err(|e| StoreError::Unavailable(e.to_string().into()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::super::Embedded;
    use super::super::tables::{NextRecord, Own};
    use super::*;
    use crate::conformance::{NOW, completed, executing, id, on_a_runtime, put, record};
    use crate::{ScanScope, Store, Version};
    use oncegate_core::{Durability, State, UnknownReason};
    use std::path::Path;
    use std::sync::Arc;
    use tempfile::{TempDir, tempdir};

    fn unknown() -> Arc<oncegate_core::Record> {
        record(State::Unknown { since: NOW, reason: UnknownReason::Broken })
    }

    /// A closed ledger with the outcomes of 0, 10 and 20 unknown, and other records.
    fn ledger() -> TempDir {
        let folder = tempdir().unwrap();
        let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
        on_a_runtime(async {
            for n in 0..30 {
                let claimed = put(&store, id(n), None, Some(executing(3_000))).await;
                let next = if n % 10 == 0 { unknown() } else { completed(2_000, n as usize * 300) };
                put(&store, id(n), Some(claimed), Some(next)).await;
            }
        });
        store.close().unwrap();
        folder
    }

    /// Does what another program does with the folder.
    fn meanwhile(folder: &Path, does: impl FnOnce(&Tables, &mut OwnedWriteBatch, &mut Own)) {
        let tables = Tables::open(&folder.join("db"), true, folder, Durability::Sync).unwrap();
        let mut batch = tables.batch(9, PersistMode::SyncAll);
        let mut own = tables.own().unwrap().unwrap();
        does(&tables, &mut batch, &mut own);
        tables.put_own(&mut batch, own);
        batch.commit().unwrap();
    }

    /// An earlier version makes these outcomes unknown, and others known.
    fn an_earlier_version(folder: &Path, is_unknown: &[u64], is_known: &[u64]) {
        meanwhile(folder, |tables, batch, own| {
            own.versions_reserved += 1 << 32;
            let mut put = |n: &u64, next| {
                let next = NextRecord::new(Version(own.versions_reserved - 1), next);
                let was = tables.record(id(*n)).unwrap().map(|stored| stored.head.kind);
                own.kinds.change(was, Some(next.head.kind));
                batch.insert(&tables.records, id(*n).0, next.value.as_slice());
            };
            is_unknown.iter().for_each(|n| put(n, unknown()));
            is_known.iter().for_each(|n| put(n, completed(2_000, 10)));
        });
    }

    #[track_caller]
    fn assert_listed(folder: &TempDir, expected: &[u64]) {
        let mut expected: Vec<_> = expected.iter().map(|n| id(*n)).collect();
        expected.sort_unstable();
        for opening in 1..3 {
            let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
            let page = on_a_runtime(store.scan(ScanScope::Unknown, None, 100)).unwrap().value;
            let listed: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
            assert_eq!(listed, expected, "opening {opening}");
            store.close().unwrap();
        }
    }

    #[test]
    fn a_folder_without_an_index_gets_one() {
        assert_listed(&ledger(), &[0, 10, 20]);
        // A folder of before, and one whose index is lost.
        for forgotten in [true, false] {
            let folder = ledger();
            meanwhile(folder.path(), |tables, _, _| {
                if forgotten {
                    tables.forget_index().unwrap();
                }
                tables.db.delete_keyspace(tables.unknown.clone()).unwrap();
            });
            assert_listed(&folder, &[0, 10, 20]);
        }
        // Making it broke off.
        let folder = ledger();
        meanwhile(folder.path(), |tables, batch, _| {
            tables.forget_index().unwrap();
            batch.remove(&tables.unknown, id(10).0);
            batch.insert(&tables.unknown, id(11).0, []);
        });
        assert_listed(&folder, &[0, 10, 20]);
    }

    #[test]
    fn an_earlier_version_may_have_the_folder_meanwhile() {
        for (is_unknown, is_known, expected) in [
            (&[5, 77][..], &[][..], &[0, 5, 10, 20, 77][..]),
            (&[], &[10], &[0, 20]),
            (&[1, 2], &[0, 10, 20], &[1, 2]),
            (&[], &[0, 10, 20], &[]),
        ] {
            let folder = ledger();
            an_earlier_version(folder.path(), is_unknown, is_known);
            assert_listed(&folder, expected);
            an_earlier_version(folder.path(), &[3], &[]);
            assert_listed(&folder, &[expected, &[3]].concat());
        }
    }

    #[test]
    fn an_index_that_is_whole_is_not_made_again() {
        let folder = ledger();
        // What nobody looks for tells whether all records were read.
        meanwhile(folder.path(), |tables, batch, _| batch.remove(&tables.unknown, id(10).0));
        assert_listed(&folder, &[0, 20]);
        let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
        store.shared.skip_versions(1 << 33);
        on_a_runtime(put(&store, id(99), None, Some(unknown())));
        store.close().unwrap();
        assert_listed(&folder, &[0, 20, 99]);
    }
}
