//! An answer as it is recorded and replayed, and what remains of it without its body.

use bytes::Bytes;
use std::sync::Arc;

/// What an allocation takes beside its bytes: its counts of owners, the allocator's own word, and what it rounds
/// up to.
const ALLOCATION: usize = 32;

/// How much memory this many bytes take in an allocation of their own.
pub const fn allocated(bytes: usize) -> usize {
    bytes + ALLOCATION
}

/// A recorded answer. Names are lower-case; order and multiplicity are the upstream's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// End-to-end fields, without those that `design/answers.md` leaves out.
    pub fields: Vec<(Bytes, Bytes)>,
    /// The body as it came, content codings included.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Vec<(Bytes, Bytes)>,
}

impl Answer {
    /// The first value of a field, where it is text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(n, _)| n == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    /// How much memory the answer takes, with what the allocator adds.
    pub fn weight(&self) -> usize {
        // Bytes that are shared count their owners beside themselves.
        let bytes = |len: usize| if len == 0 { 0 } else { allocated(len) + ALLOCATION };
        let list = |fields: &[(Bytes, Bytes)]| match fields {
            [] => 0,
            // All names and values have one allocation.
            _ => allocated(size_of_val(fields)) + bytes(fields.iter().map(|(n, v)| n.len() + v.len()).sum()),
        };
        bytes(self.body.len()) + list(&self.fields) + list(&self.trailers)
    }

    /// The parts of the answer that remain when its body is dropped.
    pub fn summary(&self) -> AnswerSummary {
        let text = |name| self.field(name).map(Arc::from);
        AnswerSummary {
            status: Some(self.status),
            location: text("location"),
            content_location: text("content-location"),
            etag: text("etag"),
        }
    }
}

/// The parts of an answer that are known without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AnswerSummary {
    /// The status. `None`: nobody saw it.
    pub status: Option<u16>,
    /// The `Location`.
    pub location: Option<Arc<str>>,
    /// The `Content-Location`.
    pub content_location: Option<Arc<str>>,
    /// The `ETag`.
    pub etag: Option<Arc<str>>,
}

impl AnswerSummary {
    /// How much memory the summary's texts take, with what the allocator adds.
    pub fn weight(&self) -> usize {
        let texts = [&self.location, &self.content_location, &self.etag].into_iter().flatten();
        texts.map(|text| allocated(text.len())).sum()
    }
}
