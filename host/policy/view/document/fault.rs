//! The faults of a body that is to be a document.

use crate::view::until::Late;

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentFault {
    /// The body is malformed; the text says why and where.
    Malformed(String),
    /// The time was up.
    Late,
}

impl From<String> for DocumentFault {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

impl From<&str> for DocumentFault {
    fn from(why: &str) -> Self {
        Self::Malformed(why.into())
    }
}

impl From<Late> for DocumentFault {
    fn from(_: Late) -> Self {
        Self::Late
    }
}
