//! How much a store holds.

use oncegate_core::{Record, State};
use std::time::Instant;

/// How much a store holds, roughly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// How many records there are.
    pub records: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// Records by their stored kind.
    pub kinds: Kinds,
    /// How far a database under the store is behind with its own work; `None`: there is no database.
    pub backlog: Option<Backlog>,
    /// How many changes on disk the ledger's mark does not have yet.
    pub unmarked: u64,
    /// How many bytes new records may take; `None`: nobody knows.
    pub room: Option<u64>,
}

/// How far a store's database is behind with its own work.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Bytes in memory that are in no table yet.
    pub write_buffers: u64,
    /// Bytes of the journal on disk.
    pub journal: u64,
    /// Full write buffers that wait to be written into tables.
    pub flushes: u64,
    /// When the last compaction was seen to end, or when the database was opened.
    pub compacted_at: Instant,
}

/// The kind that a record is stored as. A record that lapsed or expired since, and wasn't swept yet, still
/// counts as its old kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the states of a record")]
pub enum Kind {
    Executing = 1,
    Completed = 2,
    Consumed = 3,
    Unknown = 4,
    Pointer = 5,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Executing, Self::Completed, Self::Consumed, Self::Unknown, Self::Pointer];

    /// The kind that this record is stored as.
    pub fn of(record: &Record) -> Self {
        match record.state {
            State::Executing { .. } => Self::Executing,
            State::Completed { .. } => Self::Completed,
            State::Consumed { .. } => Self::Consumed,
            State::Unknown { .. } => Self::Unknown,
            State::Pointer(_) => Self::Pointer,
        }
    }

    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind's name in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Consumed => "consumed",
            Self::Unknown => "unknown",
            Self::Pointer => "pointer",
        }
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(pub(super) [u64; 5]);

impl Kinds {
    /// How many records of this kind there are.
    pub fn count(&self, kind: Kind) -> u64 {
        self.0[kind.index()]
    }

    /// How many records of all kinds there are.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts a record that was of the kind `before` and is of the kind `after`; `None`: there is no record.
    #[cfg(feature = "embedded")]
    pub(crate) fn change(&mut self, before: Option<Kind>, after: Option<Kind>) {
        if let Some(before) = before {
            self.0[before.index()] = self.0[before.index()].saturating_sub(1);
        }
        if let Some(after) = after {
            self.0[after.index()] += 1;
        }
    }
}
