//! The values of a key's or fingerprint's parts, framed. The gateway makes operation ids of them, and the
//! self-test compares the results that the gateway would have.

use crate::interface::FingerprintRule;
use crate::interface::v0_1::{Attribute, Part, Shape};
use crate::view::document::DocumentFormat;
use oncegate_core::{Fingerprint, Framer, PartKind, Recipe, Secret};
use std::borrow::Cow;
use std::hash::Hasher;

/// The host's own values of one request.
pub trait Values {
    /// The attribute as received. The body's attribute is its bytes; empty if there is no body.
    fn attribute(&self, attribute: Attribute) -> &[u8];

    /// The body as a canonical document of this shape, and how it is written; none if it is no document.
    fn document(&self, shape: &Shape) -> Option<(DocumentFormat, Cow<'_, [u8]>)>;
}

/// The fingerprint that `rule` makes of a request.
pub fn fingerprint(rule: &FingerprintRule, values: &impl Values, secret: &Secret) -> Fingerprint {
    const REQUEST_LINE: [Attribute; 4] =
        [Attribute::Method, Attribute::Authority, Attribute::Path, Attribute::Query];
    let mut framer = Framer::fingerprint(secret);
    let recipe = match rule {
        FingerprintRule::Request => {
            REQUEST_LINE.iter().for_each(|one| frame_attribute(*one, values, &mut framer));
            frame_attribute(Attribute::Body, values, &mut framer);
            Recipe::Request
        }
        FingerprintRule::Document(shape) => {
            REQUEST_LINE.iter().for_each(|one| frame_attribute(*one, values, &mut framer));
            frame_document(shape, values, &mut framer);
            Recipe::Document
        }
        FingerprintRule::Parts(parts) if parts.is_empty() => Recipe::KeyOnly,
        FingerprintRule::Parts(parts) => {
            frame(parts, values, &mut framer);
            Recipe::Parts
        }
        FingerprintRule::KeyOnly => Recipe::KeyOnly,
    };
    framer.into_fingerprint(recipe)
}

/// Adds parts to a framer.
pub fn frame(parts: &[Part], values: &impl Values, framer: &mut Framer) {
    for part in parts {
        match part {
            Part::Text(text) => framer.part(PartKind::Text, text.as_bytes()),
            Part::Bytes(bytes) => framer.part(PartKind::Bytes, bytes),
            Part::Of(attribute) => frame_attribute(*attribute, values, framer),
            Part::Document(shape) => frame_document(shape, values, framer),
            Part::Missing => framer.part(PartKind::Missing, &[]),
        }
    }
}

/// Adds a key to a quick hash, which is good only for comparing within this process. False: the key is made
/// of the body, and the hash is of no use.
pub fn hash(parts: &[Part], values: &impl Values, hasher: &mut impl Hasher) -> bool {
    for part in parts {
        let (kind, bytes) = match part {
            Part::Text(text) => (PartKind::Text, text.as_bytes()),
            Part::Bytes(bytes) => (PartKind::Bytes, &bytes[..]),
            Part::Of(Attribute::Body) | Part::Document(_) => return false,
            Part::Of(attribute) => (kind_of(*attribute), values.attribute(*attribute)),
            Part::Missing => (PartKind::Missing, &[][..]),
        };
        hasher.write_u64(((bytes.len() as u64) << 8) | kind as u64);
        hasher.write(bytes);
    }
    true
}

/// Adds one of the host's own values to a framer.
fn frame_attribute(attribute: Attribute, values: &impl Values, framer: &mut Framer) {
    framer.part(kind_of(attribute), values.attribute(attribute));
}

const fn kind_of(attribute: Attribute) -> PartKind {
    match attribute {
        Attribute::Method => PartKind::Method,
        Attribute::Authority => PartKind::Authority,
        Attribute::Path => PartKind::Path,
        Attribute::Query => PartKind::Query,
        Attribute::Body => PartKind::Body,
    }
}

/// Adds the shaped document with its format and shape; the body's bytes if it is no document.
fn frame_document(shape: &Shape, values: &impl Values, framer: &mut Framer) {
    let Some((format, canonical)) = values.document(shape) else {
        return frame_attribute(Attribute::Body, values, framer);
    };
    match format {
        DocumentFormat::Json => {}
        DocumentFormat::Form => framer.part(PartKind::Shape, b"form"),
        DocumentFormat::Multipart => framer.part(PartKind::Shape, b"multipart"),
    }
    for (mark, pointers) in [("keep", &shape.keep), ("drop", &shape.drop)] {
        framer.part(PartKind::Shape, mark.as_bytes());
        pointers.iter().for_each(|pointer| framer.part(PartKind::Shape, pointer.as_bytes()));
    }
    framer.part(PartKind::Document, &canonical);
}
