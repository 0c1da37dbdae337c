//! Documents: a body read by its content type. A minimal stand-in until the room's own arrives.

use super::{Found, Shape};

/// A body read by its content type.
#[derive(Debug)]
pub struct Document(serde_json::Value);

impl Document {
    /// Reads `body`.
    pub fn parse(_content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map(Self).map_err(|error| error.to_string())
    }

    /// What is at each of `pointers`.
    pub fn select(&self, pointers: &[String]) -> Vec<Found> {
        let found = |pointer: &String| match self.0.pointer(pointer) {
            None => Found::Nothing,
            Some(serde_json::Value::String(text)) => Found::Text(text.clone()),
            Some(other) => Found::Json(other.to_string()),
        };
        pointers.iter().map(found).collect()
    }

    /// Its canonical bytes.
    pub fn canonical(&self, _shape: &Shape) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// The canonical form of a JSON document.
pub fn canonical_json(document: &[u8]) -> Result<Vec<u8>, String> {
    Document::parse(None, document).map(|document| document.canonical(&Shape::default()))
}
