//! What a client sent, as a key. Knows neither the interface nor where settings come from.
//!
//! A fault is worded for the caller: what is wrong, and what would do.

use crate::settings::{KeyTime, Settings};
use sfv::{BareItemFromInput, Parser};
use std::convert::Infallible;

/// A key that fits the settings.
#[derive(Debug, PartialEq)]
pub struct Key {
    pub text: String,
    /// When the client made it, in Unix seconds, where the settings say that it tells.
    pub first_sent: Option<u32>,
}

const EXAMPLE: &str = r#""8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e""#;

/// The key in a header: a string of RFC 9651 or, unless `strict`, the same without quotes.
pub fn of_header<'a>(
    mut values: impl Iterator<Item = &'a str>,
    strict: bool,
) -> Result<Option<String>, String> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("it comes more than once: send it once, with one key".into());
    }
    let value = value.trim_matches([' ', '\t']);
    match value.bytes().next() {
        None => Err(format!("it is empty: send a key of your own for each operation, such as {EXAMPLE}")),
        Some(b'"') => quoted(value).map(Some),
        Some(_) if strict => Err(format!("it must be a string in double quotes: send it like {EXAMPLE}")),
        Some(_) => bare(value).map(Some),
    }
}

fn quoted(value: &str) -> Result<String, String> {
    let mut key = String::new();
    Parser::new(value)
        .parse_item_with_visitor(|item: BareItemFromInput<'_>| {
            if let BareItemFromInput::String(text) = item {
                key = text.as_str().into();
            }
            Ok::<_, Infallible>(sfv::visitor::Ignored)
        })
        .map_err(|error| {
            if value.ends_with(',') || value.contains("\",") || value.contains("\" ,") {
                return "it is a list: send one key".into();
            }
            format!("it is no string as RFC 9651 has it ({error}): send it like {EXAMPLE}")
        })?;
    if key.is_empty() {
        return Err(format!("its key is empty: send one of your own for each operation, such as {EXAMPLE}"));
    }
    Ok(key)
}

/// What most clients send: visible characters without quotes. What would make it a list, or cut
/// short what another reader takes for the key, must be quoted.
fn bare(value: &str) -> Result<String, String> {
    if value.starts_with('(') || value.contains(',') {
        return Err("it looks like a list: send one key, in double quotes if it holds a comma".into());
    }
    if let Some(wrong) = value.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | ';')) {
        let wrong = match wrong {
            ' ' => "a space".into(),
            '"' => "a double quote in the middle".into(),
            ';' => "a semicolon".into(),
            c if c.is_ascii() => format!("the control character {:#04x}", u32::from(c)),
            c => format!("{c:?}, which is not ASCII"),
        };
        return Err(format!(
            "it holds {wrong}: send visible ASCII characters, in double quotes, like {EXAMPLE}"
        ));
    }
    Ok(value.into())
}

/// The key in a query: the value of `name`, decoded as forms are.
pub fn of_query(query: Option<&str>, name: &str) -> Result<Option<String>, String> {
    let mut found = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(n, _)| n == name)
        .map(|(_, value)| value);
    let Some(value) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err("it comes more than once: send it once, with one key".into());
    }
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err("it isn't UTF-8: send letters, digits and hyphens".into());
    }
    of_text(&value).map(Some)
}

/// A key that came as plain text.
pub fn of_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty: send a key of your own for each operation, or leave it out".into());
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("it holds the control character {:#04x}: send it without", u32::from(c))),
        None => Ok(text.into()),
    }
}

/// A key that came as something else than a string in a document. `null` is how many a client
/// leaves something out; a number, in canonical form, is as good as a string.
pub fn of_json(json: &str) -> Result<Option<String>, String> {
    match json.bytes().next() {
        Some(b'n') => Ok(None),
        Some(b'-' | b'0'..=b'9') => Ok(Some(json.into())),
        Some(b'[') => Err("it is an array, or comes more than once: send one string".into()),
        _ => Err("it is neither a string nor a number: send a string".into()),
    }
}

/// Whether a body of this content type that can't be read is at fault; others merely are no
/// documents and hold no key.
pub fn is_document(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("json")
        || matches!(
            essence.as_str(),
            "" | "text/plain" | "application/x-www-form-urlencoded" | "multipart/form-data"
        )
}

/// Holds a key against the settings.
pub fn judge(text: String, settings: &Settings) -> Result<Key, String> {
    let (min, max) = (settings.min, settings.max);
    if text.len() < min {
        return Err(format!("it is {} bytes long: send at least {min}", text.len()));
    }
    if text.len() > max {
        return Err(format!("it is {} bytes long: send at most {max}", text.len()));
    }
    if let Some(pattern) = &settings.pattern
        && !pattern.whole.is_match(&text)
    {
        return Err(format!("it doesn't match the pattern {}", shortened(&pattern.source)));
    }
    let Some(kind) = settings.key_time else { return Ok(Key { text, first_sent: None }) };
    let first_sent = Some(made_at(kind, &text)?);
    // The letters' case means nothing in either kind: each has one form.
    let text = match kind {
        KeyTime::Uuidv7 => text.to_ascii_lowercase(),
        KeyTime::Ulid => text.to_ascii_uppercase(),
    };
    Ok(Key { text, first_sent })
}

/// A detail is for reading, and has a bound.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

fn made_at(kind: KeyTime, key: &str) -> Result<u32, String> {
    let (millis, spoken) = match kind {
        KeyTime::Uuidv7 => (uuidv7_millis(key), "a UUID of version 7 (RFC 9562)"),
        KeyTime::Ulid => (ulid_millis(key), "a ULID"),
    };
    let millis =
        millis.ok_or_else(|| format!("it is not {spoken}, which holds the time of its making: send one"))?;
    u32::try_from(millis / 1000).map_err(|_| format!("the time in it is past 2106: send {spoken} made now"))
}

/// The milliseconds in a UUID of version 7 (RFC 9562 §5.7), hyphens and all.
fn uuidv7_millis(key: &str) -> Option<u64> {
    let bytes = key.as_bytes();
    let shaped = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => *byte == b'7',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        });
    if !shaped {
        return None;
    }
    let high = u64::from_str_radix(&key[..8], 16).ok()?;
    let low = u64::from_str_radix(&key[9..13], 16).ok()?;
    Some(high << 16 | low)
}

/// The milliseconds in a ULID: the first ten of its 26 characters in Crockford's base 32.
fn ulid_millis(key: &str) -> Option<u64> {
    let digit = |byte: u8| -> Option<u64> {
        let byte = byte.to_ascii_uppercase();
        b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|d| *d == byte).map(|at| at as u64)
    };
    let bytes = key.as_bytes();
    // 26 times 5 bits are two more than a ULID has.
    if bytes.len() != 26 || bytes[0] > b'7' || bytes.iter().any(|byte| digit(*byte).is_none()) {
        return None;
    }
    bytes[..10].iter().try_fold(0, |millis, byte| Some(millis << 5 | digit(*byte)?))
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
