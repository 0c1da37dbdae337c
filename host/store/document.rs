//! Why a document of the ledger itself can't be had.

use super::StoreError;

/// Why a document can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored document can't be read.
    #[error(
        "the ledger's own document `{0}` can't be read: the data folder is damaged or a later version wrote it; use that version, or another folder"
    )]
    Damaged(&'static str),
}
