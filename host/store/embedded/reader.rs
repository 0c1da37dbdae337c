//! The threads that read, so that no worker ever waits for the disk.

use super::calls::{Queued, Works};
use super::shared::{ReadSubject, StoreState};
use super::tables::{StoredRecord, Tables, unbroken};
use super::writer::Responder;
use crate::{ScanScope, Scanned, StoreError, Version, Versioned};
use bytes::Bytes;
use crossbeam_channel::Receiver;
use oncegate_core::{OperationId, Timestamp};
use std::sync::Arc;

/// A query that a reader takes.
pub(super) enum Query {
    Record(OperationId, Responder<Option<Versioned>>),
    Due(Timestamp, usize, Responder<Vec<OperationId>>),
    Scan(ScanScope, Option<OperationId>, usize, Responder<Vec<Scanned>>),
    Document(&'static str, Responder<Option<(Version, Bytes)>>),
}

/// A reader's own state.
pub(super) struct Reader {
    pub(super) shared: Arc<StoreState>,
    /// Which of the readers it is.
    pub(super) number: usize,
}

impl Reader {
    /// Runs until the last sender is gone.
    pub(super) fn run(self, queries: &Receiver<Queued<Query>>) {
        for Queued { at, message } in queries {
            let _working = self.shared.calls.work(Works::Reader(self.number), at);
            match message {
                Query::Record(id, answer) => self.answer(answer, ReadSubject::Record(id), |tables| {
                    tables.record(id)?.as_ref().map(StoredRecord::read).transpose()
                }),
                Query::Due(until, limit, answer) => {
                    self.answer(answer, ReadSubject::List, |tables| self.due(tables, until, limit));
                }
                Query::Scan(of, after, limit, answer) => {
                    self.answer(answer, ReadSubject::List, |tables| tables.scan(of, after, limit));
                }
                Query::Document(name, answer) => {
                    self.answer(answer, ReadSubject::Document(name), |tables| tables.document(name));
                }
            }
        }
    }

    fn answer<T>(
        &self,
        answer: Responder<T>,
        of: ReadSubject,
        read: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) {
        // One bad block must not end the thread.
        let _ = answer.send(self.shared.read(of, |tables| unbroken(|| read(tables))));
    }

    fn due(&self, tables: &Tables, until: Timestamp, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let due = self.shared.due_floor.scan(until, |from| tables.due(from, until, limit))?;
        self.shared.found_due.note(&due);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }
}
