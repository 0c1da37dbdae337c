//! Reading a body by its content type.

use super::builder::Builder;
use super::fault::DocumentFault;
use super::tree::Document;
use super::{multipart, parse};
use crate::interface::v0_1::Shape;
use crate::view::until::Until;

/// The largest body: beyond this size the indexes could overflow; `body_bytes` is far below.
const LARGEST: usize = 256 << 20;

impl Document {
    /// Reads a body by its content type. An `Err` says why and where it is malformed.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        Self::parse_until(content_type, body, Until::THE_END).map_err(|unread| match unread {
            DocumentFault::Malformed(why) => why,
            DocumentFault::Late => "it is not read in time".into(),
        })
    }

    /// Reads a body by its content type, unless the time is up before.
    pub fn parse_until(content_type: Option<&str>, body: &[u8], until: Until) -> Result<Self, DocumentFault> {
        if body.len() > LARGEST {
            return Err(format!("{} bytes are more than a document may have", body.len()).into());
        }
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            parse::form(body, Builder::for_body(body.len(), until))
        } else if essence.eq_ignore_ascii_case("multipart/form-data") {
            // Files leave only their digests.
            multipart::form(content_type, body, Builder::for_body(body.len().min(1 << 16), until))
        } else {
            parse::json(body, Builder::for_body(body.len(), until))
        }
    }
}

/// JSON in canonical form: RFC 8785, but each number keeps its exact decimal value.
pub(crate) fn canonical_json(document: &[u8]) -> Result<Vec<u8>, String> {
    Ok(Document::parse(None, document)?.canonical(&Shape::default()))
}
