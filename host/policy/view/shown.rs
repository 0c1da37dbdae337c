//! A body as policies see it. A small one is read as a document once, however many policies and hooks ask.

use super::document::{Document, DocumentFault, DocumentFormat};
use super::until::{Late, Until};
use crate::interface::v0_1::Shape;
use crate::interface::{Payload, PayloadWant};
use crate::view::coding::{self, CodingFault};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use std::sync::OnceLock;

/// The most bytes of a body, with its content codings and without, that are read where connections wait.
const SMALL: usize = 64 << 10;

/// A body that policies are shown.
#[derive(Debug)]
pub struct ShownBody {
    bytes: Bytes,
    content_type: Option<HeaderValue>,
    /// `Content-Encoding`, if there is one.
    codings: HeaderMap,
    /// The most bytes that are shown.
    limit: usize,
    /// The body without its codings, if it is small.
    small: OnceLock<Option<Result<Bytes, CodingFault>>>,
    /// The document, if the body is small.
    document: OnceLock<Result<Document, NoDocument>>,
}

/// A canonical document.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentForm {
    /// The places that count.
    pub shape: Shape,
    /// How the document is written.
    pub format: DocumentFormat,
    /// The bytes of these places.
    pub canonical: Vec<u8>,
}

/// Why a body is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDocument {
    /// Nothing of the body is left once its codings are removed.
    Empty,
    /// The body is larger than the limit.
    Oversize,
    /// The body is malformed; the text says why.
    Malformed(String),
}

impl From<CodingFault> for NoDocument {
    fn from(fault: CodingFault) -> Self {
        match fault {
            CodingFault::Oversize => Self::Oversize,
            CodingFault::Malformed(why) => Self::Malformed(why),
        }
    }
}

impl ShownBody {
    /// A body with the fields of its message, of which at most `limit` bytes are shown.
    pub fn new(fields: &HeaderMap, bytes: Bytes, limit: usize) -> Self {
        let mut codings = HeaderMap::new();
        for value in fields.get_all(CONTENT_ENCODING) {
            codings.append(CONTENT_ENCODING, value.clone());
        }
        Self {
            bytes,
            content_type: fields.get(CONTENT_TYPE).cloned(),
            codings,
            limit,
            small: OnceLock::new(),
            document: OnceLock::new(),
        }
    }

    /// True if reading the body takes no longer than a worker can spare.
    pub fn is_small(&self) -> bool {
        if self.bytes.len() > SMALL {
            return false;
        }
        let decoded = || match coding::removed(&self.codings, &self.bytes, self.limit.min(SMALL)) {
            Err(CodingFault::Oversize) if self.limit > SMALL => None,
            decoded => Some(decoded),
        };
        self.codings.is_empty() || self.small.get_or_init(decoded).is_some()
    }

    /// As much of the body as `want` asks for, content codings removed. No body and an empty body are the same.
    pub fn payload(&self, want: &PayloadWant, until: Until) -> Result<Payload, Late> {
        Ok(match want {
            _ if self.bytes.is_empty() => Payload::Absent,
            PayloadWant::Nothing => Payload::Withheld,
            PayloadWant::Whole(most) => match self.plain(self.limit.min(*most as usize)) {
                Ok(body) if body.is_empty() => Payload::Absent,
                Ok(body) => Payload::Whole(body),
                Err(CodingFault::Oversize) => Payload::Oversize,
                Err(CodingFault::Malformed(why)) => Payload::Malformed(why),
            },
            PayloadWant::Pointers(pointers) => {
                return self.with_document(until, |document| match document {
                    Ok(document) => Ok(Payload::Selected(document.select(pointers, until)?)),
                    Err(NoDocument::Empty) => Ok(Payload::Absent),
                    Err(NoDocument::Oversize) => Ok(Payload::Oversize),
                    Err(NoDocument::Malformed(why)) => Ok(Payload::Malformed(why.clone())),
                });
            }
        })
    }

    /// The canonical document of each shape; none if the body is no document.
    pub fn forms(&self, shapes: Vec<Shape>, until: Until) -> Result<Option<Vec<DocumentForm>>, Late> {
        self.with_document(until, |document| {
            let Ok(document) = document else { return Ok(None) };
            let form = |shape: Shape| {
                until.look()?;
                let canonical = document.canonical(&shape);
                Ok(DocumentForm { shape, format: document.format(), canonical })
            };
            shapes.into_iter().map(form).collect::<Result<_, Late>>().map(Some)
        })
    }

    /// The canonical document of this shape, made here and now; none if the body is no document.
    pub fn form(&self, shape: &Shape) -> Option<(DocumentFormat, Vec<u8>)> {
        let form = |document: &Document| (document.format(), document.canonical(shape));
        self.with_document(Until::THE_END, |document| Ok(document.ok().map(form))).ok()?
    }

    /// Lends the document, or why there is none. That of a small body is read once and kept. A large one has many
    /// times the bytes that were sent, which nobody has counted, and is gone at once.
    fn with_document<T>(
        &self,
        until: Until,
        with: impl FnOnce(Result<&Document, &NoDocument>) -> Result<T, Late>,
    ) -> Result<T, Late> {
        if let Some(read) = self.document.get() {
            return with(read.as_ref());
        }
        let read = self.read_until(until)?;
        if self.is_small() { with(self.document.get_or_init(|| read).as_ref()) } else { with(read.as_ref()) }
    }

    fn read_until(&self, until: Until) -> Result<Result<Document, NoDocument>, Late> {
        let plain = match self.plain(self.limit) {
            Ok(plain) if plain.is_empty() => return Ok(Err(NoDocument::Empty)),
            Ok(plain) => plain,
            Err(fault) => return Ok(Err(fault.into())),
        };
        until.look()?;
        // A parameter of any bytes hides no type.
        let content_type = self.content_type.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()));
        match Document::parse_until(content_type.as_deref(), &plain, until) {
            Ok(document) => Ok(Ok(document)),
            Err(DocumentFault::Malformed(why)) => Ok(Err(NoDocument::Malformed(why))),
            Err(DocumentFault::Late) => Err(Late),
        }
    }

    /// The body without its codings, of at most `limit` bytes.
    fn plain(&self, limit: usize) -> Result<Bytes, CodingFault> {
        let plain = match self.small.get() {
            Some(Some(plain)) => plain.clone()?,
            Some(None) | None => coding::removed(&self.codings, &self.bytes, limit)?,
        };
        if plain.len() > limit { Err(CodingFault::Oversize) } else { Ok(plain) }
    }
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
