//! What is wrong with a mark, in words that say how to go on.

use oncegate_core::Timestamp;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What a folder lacks of its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many changes are missing.
    pub changes: u64,
    /// The latest time that the folder knows; none: it has no change at all.
    pub since: Option<Timestamp>,
    /// The time of the mark.
    pub until: Timestamp,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, since, until } = self;
        match changes {
            1 => write!(f, "1 change of its records is missing, ")?,
            _ => write!(f, "{changes} changes of its records are missing, ")?,
        }
        match since {
            Some(since) => write!(f, "made after {since} and until {until}"),
            None => write!(f, "all of them, made until {until}"),
        }
    }
}

/// How a folder comes to be behind. One without a single change may never have been this mark's.
fn what_may_be(gap: &Gap) -> &'static str {
    match gap.since {
        Some(_) => "it was put back from a copy, or its disk lost what was on it",
        None => {
            "it was put back from a copy or its disk lost what was on it; or the mark is that of another gateway's ledger, \
             and this one needs a file of its own in `ledger.mark_file`"
        }
    }
}

/// A call that the system refused, and the path that it was on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct RefusedCall {
    /// The path.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// Why a folder and its mark don't fit.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The folder is behind.
    #[error(
        "the ledger in {} is older than its mark in {}: {}. \
         {gap}: what was executed then would run again. Put the newest folder in place, or start once with --accept-duplicates and know that these \
         operations can run a second time", .folder.display(), .file.display(), what_may_be(gap)
    )]
    Behind {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
        /// What is missing.
        gap: Gap,
    },
    /// The file is gone.
    #[error(
        "the mark of the ledger in {} is missing: there is no {}, so nobody knows whether the folder is the newest. \
         See that its disk is there, put the file back, or start once with --accept-duplicates: a new one is made",
        .folder.display(), .file.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The file is of another folder.
    #[error(
        "the mark in {} is that of another ledger than the one in {}. Either two gateways name one file, and each needs its \
         own in `ledger.mark_file`; or this is not the folder that the mark was made for: put that one in place",
        .file.display(), .folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The file would be copied and put back with the folder.
    #[error(
        "`ledger.mark_file` is {}, inside of the data folder {}: a copy that is put back would bring its mark along. \
         Name a file outside, on another disk", .file.display(), .folder.display()
    )]
    Inside {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The file is mounted, not its folder.
    #[error(
        "`ledger.mark_file` {} is a file that is mounted by itself, so that no newer one can take its place. \
         Mount a folder, and name a file in it", .0.display()
    )]
    Mounted(PathBuf),
    /// The file is no mark.
    #[error(
        "{} is no mark of a ledger. If it was one, put it back; if it is lost, remove what is left of it and start once \
         with --accept-duplicates: a new one is made. If it is another file, name another in `ledger.mark_file`",
        .0.display()
    )]
    NoMark(PathBuf),
    /// The system refused a call for the file.
    #[error(
        "`ledger.mark_file` {} can't be used: {refused}; see that its folder is there and writable for this user",
        .file.display()
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// The call.
        refused: RefusedCall,
    },
}
