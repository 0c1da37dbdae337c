//! JSON and urlencoded forms as documents.

use super::builder::{Builder, FIELDS_MAX};
use super::fault::DocumentFault;
use super::tree::{Document, DocumentFormat, Node};
use json_event_parser::{JsonEvent, JsonSyntaxError, SliceJsonParser};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Reads JSON (RFC 8259), with a byte order mark or without. The parser hands numbers out as they
/// are written. It refuses lone surrogates, bytes that aren't UTF-8 and anything after the document. This
/// function checks for names that come twice, depth and exponents.
pub(super) fn json(body: &[u8], mut builder: Builder) -> Result<Document, DocumentFault> {
    let mut events = SliceJsonParser::new(body);
    loop {
        match events.parse_next().map_err(|error| describe(&error))? {
            JsonEvent::String(text) | JsonEvent::ObjectKey(text) => builder.text(&text)?,
            JsonEvent::Number(number) => builder.number(&number)?,
            JsonEvent::Boolean(value) => builder.push(Node::Bool(value))?,
            JsonEvent::Null => builder.push(Node::Null)?,
            JsonEvent::StartArray => builder.open(Node::Array { end: 0 })?,
            JsonEvent::StartObject => builder.open(Node::Object { end: 0, first: 0, count: 0 })?,
            JsonEvent::EndArray => builder.close_array(),
            JsonEvent::EndObject => builder.close_object()?,
            JsonEvent::Eof => return Ok(builder.finish(DocumentFormat::Json)),
        }
    }
}

fn describe(error: &JsonSyntaxError) -> String {
    let at = error.location().start;
    format!("no JSON at line {} column {}: {}", at.line + 1, at.column + 1, error.message())
}

/// Reads `application/x-www-form-urlencoded` (WHATWG URL §5.1), but bytes that aren't UTF-8 are
/// malformed: replacing them would make two forms one.
pub(super) fn form(body: &[u8], mut builder: Builder) -> Result<Document, DocumentFault> {
    let mut fields = vec![];
    for (position, piece) in body.split(|byte| *byte == b'&').enumerate() {
        if piece.is_empty() {
            continue;
        }
        let middle = piece.iter().position(|byte| *byte == b'=');
        let (name, value) = middle.map_or((piece, &[][..]), |at| (&piece[..at], &piece[at + 1..]));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(format!("no UTF-8 in the form's field number {}", position + 1).into());
        };
        if fields.len() == FIELDS_MAX {
            return Err(format!("a form of more than {FIELDS_MAX} fields").into());
        }
        fields.push((name, value));
    }
    builder.fields(fields, |builder, value| builder.text(&value))?;
    Ok(builder.finish(DocumentFormat::Form))
}

fn decode(text: &[u8]) -> Option<Cow<'_, str>> {
    if !text.contains(&b'+') {
        return percent_decode(text).decode_utf8().ok();
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}
