//! How much a store holds.

use oncegate_core::{Record, State};

/// How much a store holds, roughly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Records by what they were stored as.
    pub kinds: Kinds,
}

/// What a record is stored as. What lapsed or expired since, and wasn't swept yet, still counts as
/// what it was.
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
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Executing, Self::Completed, Self::Consumed, Self::Unknown, Self::Pointer];

    /// What this record is stored as.
    pub fn of(record: &Record) -> Self {
        match record.state {
            State::Executing { .. } => Self::Executing,
            State::Completed { .. } => Self::Completed,
            State::Consumed { .. } => Self::Consumed,
            State::Unknown { .. } => Self::Unknown,
            State::Pointer(_) => Self::Pointer,
        }
    }

    /// The one with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word for it in metrics.
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
    /// How many of this kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.0[kind.index()]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// One record more or less: it was of the one kind and is of the other.
    pub(crate) fn change(&mut self, before: Option<Kind>, after: Option<Kind>) {
        if let Some(before) = before {
            self.0[before.index()] = self.0[before.index()].saturating_sub(1);
        }
        if let Some(after) = after {
            self.0[after.index()] += 1;
        }
    }
}
