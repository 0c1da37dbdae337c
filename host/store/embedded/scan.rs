//! Scans. A record that can't be read ends none: it is told under its id, and the next one is read.
//!
//! A bad block of a table hides the ids of the records in it. The due index has every id, so then the page is
//! made by that: it takes a pass of the whole index.

use super::tables::{StoredRecord, Tables, operation_of, read_error, unbroken};
use crate::{ScanScope, Scanned, StoreError};
use fjall::{Readable, Snapshot};
use oncegate_core::OperationId;
use std::collections::BTreeSet;
use std::ops::Bound;

/// The bound for one page: others wait for the reader meanwhile.
const BYTES_MAX: usize = 4 << 20;

/// One page.
struct Page {
    records: Vec<Scanned>,
    limit: usize,
    bytes: usize,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { records: Vec::new(), limit, bytes: 0 }
    }

    /// Takes a record in. False: the page is full.
    fn take(&mut self, id: OperationId, stored: Result<StoredRecord, StoreError>) -> bool {
        self.bytes += stored.as_ref().map_or(0, |stored| stored.value.len());
        self.records.push((id, stored.and_then(|stored| stored.read())));
        self.records.len() < self.limit && self.bytes <= BYTES_MAX
    }

    /// The page, unless nothing on it can be read because the disk, say, can't.
    fn end(self) -> Result<Vec<Scanned>, StoreError> {
        let fails =
            |met: &Scanned| matches!(met.1, Err(ref error) if !matches!(error, StoreError::Corrupt(_)));
        match self.records.last() {
            Some((_, Err(error))) if self.records.iter().all(fails) => Err(error.clone()),
            _ => Ok(self.records),
        }
    }
}

impl Tables {
    /// Records of a scope behind `after` in the order of their ids, until they are `limit` or large together.
    pub(super) fn scan(
        &self,
        of: ScanScope,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let behind = (after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.0)), Bound::Unbounded);
        let Some(kind) = of.kind() else {
            return match unbroken(|| self.all(behind, limit)) {
                Err(_) => self.by_due(&self.db.snapshot(), after, limit),
                page => page,
            };
        };
        let mut page = Page::new(limit);
        for guard in self.index(kind).into_iter().flat_map(|index| index.range::<[u8; 32], _>(behind)) {
            let id = operation_of(&guard.key().map_err(read_error)?)?;
            // The record may have changed since the index was read.
            let record = unbroken(|| self.record(id)).transpose();
            let of_kind =
                record.filter(|stored| stored.as_ref().map_or(true, |stored| stored.head.kind == kind));
            if of_kind.is_some_and(|stored| !page.take(id, stored)) {
                break;
            }
        }
        page.end()
    }

    /// Records as the table has them.
    fn all(
        &self,
        behind: (Bound<[u8; 32]>, Bound<[u8; 32]>),
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let mut page = Page::new(limit);
        for guard in self.records.range::<[u8; 32], _>(behind) {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            if !page.take(operation_of(&key)?, StoredRecord::try_new(value)) {
                break;
            }
        }
        page.end()
    }

    /// The first records behind `after`, by the due index. Ids and records are of one moment: a page of which every
    /// record went meanwhile would be empty, and tell that there is nothing behind it.
    fn by_due(
        &self,
        moment: &Snapshot,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let mut first = BTreeSet::new();
        for guard in moment.iter(&self.due) {
            let key = guard.key().map_err(read_error)?;
            let id = operation_of(key.get(8..).unwrap_or_default())?;
            if after.is_none_or(|after| id > after) {
                first.insert(id);
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        let mut page = Page::new(limit);
        for id in first {
            let record = || moment.get(&self.records, id.0).map_err(read_error);
            let stored = unbroken(|| record()?.map(StoredRecord::try_new).transpose()).transpose();
            if stored.is_some_and(|stored| !page.take(id, stored)) {
                break;
            }
        }
        page.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::super::tests::a_ledger_with_tables;
    use super::*;
    use crate::conformance::{completed, executing, id, on_a_runtime, put};
    use crate::embedded::Embedded;
    use crate::{Store, Version};
    use oncegate_core::Durability;
    use std::fs;
    use std::path::{Path, PathBuf};
    use tempfile::tempdir;

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The ids that a scan meets, with the versions of what can be read.
    async fn scanned(store: &Embedded) -> Vec<(OperationId, Option<Version>)> {
        let (mut met, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(ScanScope::All, after, 64).await.unwrap().value;
            let Some((last, _)) = page.last() else { return met };
            after = Some(*last);
            met.extend(page.into_iter().map(|(id, met)| (id, met.ok().map(|found| found.version))));
        }
    }

    /// A rotten block has many records, and a rotten answer is of one.
    #[test]
    fn what_cannot_be_read_ends_no_scan() {
        let folder = a_ledger_with_tables();
        let of_records =
            files(&folder.path().join("db/keyspaces")).into_iter().find(|path| path.join("blobs").exists());
        let of_records = of_records.unwrap();
        for of in ["blobs", "tables"] {
            let mut unreadable = 0;
            for file in files(&of_records.join(of)) {
                let sound = fs::read(&file).unwrap();
                for place in 1..8 {
                    let mut rotten = sound.clone();
                    rotten[sound.len() * place / 9] ^= 0x55;
                    fs::write(&file, rotten).unwrap();
                    let opened = Embedded::open(folder.path(), Durability::Sync);
                    if let Ok((store, _)) = opened {
                        on_a_runtime(async {
                            let mut expected = Vec::new();
                            for n in 0..250 {
                                let loaded = store.load(id(n)).await.map(|said| said.value);
                                unreadable += u64::from(loaded.is_err());
                                if let Some(loaded) = loaded.transpose() {
                                    expected.push((id(n), loaded.ok().map(|found| found.version)));
                                }
                            }
                            expected.sort_unstable();
                            assert_eq!(scanned(&store).await, expected, "{of} at {place}");
                        });
                    }
                    fs::write(&file, &sound).unwrap();
                }
            }
            assert!(unreadable > 0, "{of}");
        }
    }

    /// Past a rotten block, what is swept, forgotten, settled or claimed while a page is made neither ends the scan
    /// nor goes missing.
    #[test]
    fn records_that_move_meanwhile_are_scanned() {
        for (name, limit, moved) in
            [("the first", 1, 0..1), ("a page", 4, 0..4), ("more", 4, 0..9), ("all", 64, 0..20)]
        {
            let folder = tempdir().unwrap();
            let (store, _) = Embedded::open(folder.path(), Durability::Sync).unwrap();
            let tables = store.shared.tables().unwrap();
            on_a_runtime(async {
                let mut versions = Vec::new();
                for n in 0..20 {
                    versions.push((id(n), put(&store, id(n), None, Some(executing(3_000))).await));
                }
                versions.sort_unstable();
                let moment = tables.db.snapshot();
                for (n, (id, version)) in versions[moved].iter().enumerate() {
                    let next = (n % 2 == 1).then(|| completed(2_000, 300));
                    put(&store, *id, Some(*version), next).await;
                }
                let page = tables.by_due(&moment, None, limit).unwrap();
                let met: Vec<_> = page.into_iter().map(|(id, met)| (id, met.unwrap().version)).collect();
                assert_eq!(met, versions[..limit.min(20)], "{name}");
            });
        }
    }
}
