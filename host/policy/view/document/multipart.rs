//! `multipart/form-data` (RFC 7578) as a document. Texts are read as in any form; a file becomes its name,
//! type and digest. The boundary, which clients choose anew for each attempt, leaves no trace.

use super::builder::{Builder, FIELDS_MAX};
use super::fault::DocumentFault;
use super::tree::{Document, DocumentFormat, Node};
use memchr::memmem;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The most fields in a part's head: a body with more is no form.
const MOST_FIELDS: usize = 16;
/// The type of a part that names none (RFC 7578 §4.4).
const DEFAULT_TYPE: &str = "text/plain";

enum Part<'a> {
    Text(&'a str),
    File { filename: String, kind: &'a str, content: &'a [u8] },
}

/// Reads a form whose parts stand between the boundaries that `content_type` names.
pub(super) fn form(content_type: &str, body: &[u8], mut builder: Builder) -> Result<Document, DocumentFault> {
    let boundary = parameter(content_type, "boundary").ok_or("multipart/form-data without a boundary")?;
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => after(body, &delimiter).ok_or("the boundary of multipart/form-data isn't in the body")?.1,
    };
    let finder = memmem::Finder::new(&delimiter);
    let mut fields = vec![];
    while !rest.starts_with(b"--") {
        if fields.len() == FIELDS_MAX {
            return Err(format!("multipart/form-data of more than {FIELDS_MAX} parts").into());
        }
        let number = fields.len() + 1;
        let fault = |what: &str| format!("part {number} of multipart/form-data {what}");
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = rest[padding..].strip_prefix(b"\r\n").ok_or_else(|| fault("has no line end before it"))?;
        // A part without fields and content ends with the line end that it begins with.
        let end = finder.find(part).ok_or_else(|| fault("has no boundary after it"))?;
        fields.push(read(&part[..end]).map_err(|what| fault(&what))?);
        rest = &part[end + delimiter.len()..];
    }
    builder.fields(fields, put)?;
    Ok(builder.finish(DocumentFormat::Multipart))
}

fn put(builder: &mut Builder, part: Part<'_>) -> Result<(), DocumentFault> {
    let (filename, kind, content) = match part {
        Part::Text(text) => return builder.text(text),
        Part::File { filename, kind, content } => (filename, kind, content),
    };
    let hex = crate::hex(&Sha256::digest(content));
    builder.open(Node::Object { end: 0, first: 0, count: 0 })?;
    for (name, value) in [("filename", filename.as_str()), ("type", kind), ("sha256", &hex)] {
        builder.text(name)?;
        builder.text(value)?;
    }
    builder.close_object()
}

/// The name and the content of a part.
fn read(part: &[u8]) -> Result<(Cow<'_, str>, Part<'_>), String> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let (head, fields) = match httparse::parse_headers(part, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Err("has a head without an end".into()),
        Err(error) => return Err(format!("has no proper head: {error}")),
    };
    let field = |name: &str| -> Result<Option<&str>, String> {
        let mut values = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(field), None) => std::str::from_utf8(field.value)
                .map(Some)
                .map_err(|_| format!("has a {name} that isn't UTF-8")),
            (Some(_), Some(_)) => Err(format!("has two of {name}")),
        }
    };
    let disposition = field("content-disposition")?.ok_or("has no content-disposition")?;
    let coding = field("content-transfer-encoding")?.unwrap_or("binary");
    if !["7bit", "8bit", "binary"].iter().any(|plain| coding.eq_ignore_ascii_case(plain)) {
        return Err("has a content-transfer-encoding, which forms no longer have".into());
    }
    let name = parameter(disposition, "name").ok_or("has no name")?;
    let content = &part[head..];
    let filename = parameter(disposition, "filename")
        .or_else(|| parameter(disposition, "filename*").as_deref().and_then(extended));
    let part = match filename {
        Some(filename) => {
            Part::File { filename, kind: field("content-type")?.unwrap_or(DEFAULT_TYPE), content }
        }
        None => Part::Text(std::str::from_utf8(content).map_err(|_| "is a text that isn't UTF-8")?),
    };
    Ok((name.into(), part))
}

/// A parameter of a field, by its lower-case name; quoted or not. The first parameter of that name counts.
fn parameter(field: &str, wanted: &str) -> Option<String> {
    let mut rest = &field[field.find(';')? + 1..];
    loop {
        let (name, after) = rest.split_once('=')?;
        let found = name.trim().eq_ignore_ascii_case(wanted);
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if found {
            return Some(value);
        }
        rest = &after[after.find(';')? + 1..];
    }
}

/// The text before the closing quote, and the text after it. A backslash stands for itself unless a quote or
/// another backslash follows: browsers send paths with it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match characters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            _ => value.push(character),
        }
    }
    None
}

/// The text of an extended value (RFC 8187), such as `UTF-8''na%C3%AFve.txt`.
fn extended(value: &str) -> Option<String> {
    let text = value.splitn(3, '\'').nth(2)?;
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

fn after<'a>(body: &'a [u8], delimiter: &str) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::find(body, delimiter.as_bytes())?;
    Some((&body[..at], &body[at + delimiter.len()..]))
}
