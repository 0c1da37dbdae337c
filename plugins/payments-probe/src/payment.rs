//! What the service calls a payment, and how it is asked about one.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What the service says of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The bank has taken it.
    Done,
    /// It was turned away, and the bank never asked.
    Refused,
    /// The bank has not answered yet.
    Pending,
    /// The service itself doesn't know.
    Lost,
}

/// What a list of payments with one reference says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    None,
    /// Its id.
    One(String),
    Several,
}

/// Where payments are listed, from the setting.
pub fn path_of(setting: Option<String>) -> Result<String, String> {
    let Some(path) = setting else { return Ok("/payments".into()) };
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
    if !path.starts_with('/') || path.ends_with('/') || !plain {
        return Err(
            "`payments` must be a path like \"/payments\", without a query or a slash at its end".into()
        );
    }
    Ok(path)
}

/// The reference that a key stands for: bare, or a string of RFC 9651.
pub fn reference(key: &str) -> Option<&str> {
    let key = key.trim();
    let bare = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    ((1..=64).contains(&bare.len()) && bare.bytes().all(plain)).then_some(bare)
}

/// The question for payments with this reference.
pub fn list(payments: &str, reference: &str) -> String {
    format!("{payments}?reference={}", utf8_percent_encode(reference, PLAIN))
}

/// The question for one payment.
pub fn one(payments: &str, id: &str) -> String {
    format!("{payments}/{}", utf8_percent_encode(id, PLAIN))
}

/// The word of the service for a payment's state.
pub fn status(word: &str) -> Option<Status> {
    match word {
        "captured" | "settled" => Some(Status::Done),
        "refused" => Some(Status::Refused),
        "pending" => Some(Status::Pending),
        "lost" => Some(Status::Lost),
        _ => None,
    }
}

/// The payment's state; none where the service says another word.
pub fn status_of(body: &[u8]) -> Result<Option<Status>, String> {
    let payment: Value = serde_json::from_slice(body).map_err(|e| format!("a payment: {e}"))?;
    Ok(payment["status"].as_str().and_then(status))
}

/// Reads `{"payments": [{"id": …, "reference": …}]}`. A service that ignores the query lists others,
/// too, so each one's reference is looked at.
pub fn listed(body: &[u8], reference: &str) -> Result<Listed, String> {
    let list: Value = serde_json::from_slice(body).map_err(|e| format!("the list: {e}"))?;
    let payments = list["payments"].as_array().ok_or("the list has no `payments`")?;
    let mut ours = payments.iter().filter(|payment| payment["reference"] == reference);
    match (ours.next(), ours.next()) {
        (None, _) => Ok(Listed::None),
        (Some(payment), None) => {
            let id = payment["id"].as_str().ok_or("a payment in the list has no `id`")?;
            Ok(Listed::One(id.into()))
        }
        (Some(_), Some(_)) => Ok(Listed::Several),
    }
}
