//! The rules in the comments of `policy.wit` that more than one of its types follows. A broken rule is a
//! [`Broken`] that names the field and states the rule.

use crate::interface::failure::Broken;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_config::is_reserved;
use oncegate_core::problem::Code;

/// The most pointers, parts, fields or rules in one list of a plan, shape or fingerprint.
pub(crate) const LIST_MAX: usize = 64;
/// The most fields that a policy sets.
const FIELDS_MAX: usize = 16;
const MEMO_BYTES_MAX: usize = 4 << 10;

/// Labels that the gateway's own metrics and logs carry.
const HOST_LABELS: [&str; 16] = [
    "route",
    "result",
    "policy",
    "le",
    "quantile",
    "outcome",
    "hook",
    "kind",
    "state",
    "op",
    "upstream",
    "operation",
    "method",
    "status",
    "version",
    "listener",
];

/// The error for a broken rule of `place`.
pub(crate) fn broken<T>(place: &'static str, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { place, what: what.into() })
}

/// Checks that a list has at most `most` elements.
pub(crate) fn at_most(place: &'static str, found: usize, most: usize) -> Result<(), Broken> {
    if found > most {
        return broken(place, format!("{found} of them, at most {most} are allowed"));
    }
    Ok(())
}

/// Checks that a text has at most `most` bytes.
pub(crate) fn bytes_at_most(place: &'static str, text: &str, most: usize) -> Result<(), Broken> {
    if text.len() > most {
        return broken(place, format!("{} bytes, at most {most} are allowed", text.len()));
    }
    Ok(())
}

/// Checks a JSON pointer (RFC 6901): "" or "/…", where `~` is followed by 0 or 1.
fn pointer(place: &'static str, text: &str) -> Result<(), Broken> {
    let escapes_fit = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (text.is_empty() || text.starts_with('/')) && escapes_fit {
        return Ok(());
    }
    broken(
        place,
        format!("`{}` is not a JSON pointer (RFC 6901): \"\", or \"/\" and a name", text.escape_debug()),
    )
}

/// Checks that these lists have at most 64 JSON pointers together.
pub(crate) fn pointers(place: &'static str, lists: &[&[String]]) -> Result<(), Broken> {
    at_most(place, lists.iter().map(|list| list.len()).sum(), LIST_MAX)?;
    lists.iter().flat_map(|list| list.iter()).try_for_each(|text| pointer(place, text))
}

/// Checks a method: a token, case-sensitive.
pub(crate) fn method(place: &'static str, text: &str) -> Result<(), Broken> {
    if http::Method::from_bytes(text.as_bytes()).is_err() {
        return broken(place, format!("`{}` is not a token", text.escape_debug()));
    }
    Ok(())
}

/// Checks a lower-case field name.
pub(crate) fn lower_name(place: &'static str, text: &str) -> Result<HeaderName, Broken> {
    match HeaderName::from_lowercase(text.as_bytes()) {
        Ok(name) => Ok(name),
        Err(_) => broken(place, format!("`{}` is not a lower-case field name", text.escape_debug())),
    }
}

/// Checks the fields that a policy sets: at most 16, tokens for names, no control characters in values, and
/// no field that only the host sets. `more` names further fields that are not allowed here.
pub(crate) fn fields(
    place: &'static str,
    fields: Vec<(String, String)>,
    more: fn(&str) -> bool,
) -> Result<Vec<(HeaderName, HeaderValue)>, Broken> {
    at_most(place, fields.len(), FIELDS_MAX)?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    fields.into_iter().map(|(name, value)| field(place, &name, &value, more)).collect()
}

/// Checks the name of a field that a policy may change. `more` names further fields that it may not.
pub(crate) fn field_name(
    place: &'static str,
    name: &str,
    more: fn(&str) -> bool,
) -> Result<HeaderName, Broken> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return broken(place, format!("`{}` is not a token", name.escape_debug()));
    };
    let lower = parsed.as_str();
    if is_reserved(lower) || more(lower) {
        return broken(place, format!("`{lower}` is not a policy's to set"));
    }
    Ok(parsed)
}

fn field(
    place: &'static str,
    name: &str,
    value: &str,
    more: fn(&str) -> bool,
) -> Result<(HeaderName, HeaderValue), Broken> {
    let parsed = field_name(place, name, more)?;
    let lower = parsed.as_str();
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(value_parsed) if !value.contains(char::is_control) => Ok((parsed, value_parsed)),
        _ => broken(place, format!("the value of `{lower}` has a control character")),
    }
}

/// Checks a path as it is sent: it begins with "/", has its query, and at most 8 KiB.
pub(crate) fn path(place: &'static str, text: &str) -> Result<PathAndQuery, Broken> {
    const BYTES_MAX: usize = 8 << 10;
    bytes_at_most(place, text, BYTES_MAX)?;
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match text.parse() {
        Ok(path) if plain && text.starts_with('/') => Ok(path),
        _ => broken(
            place,
            format!(
                "the path `{}` is not \"/\" and visible ASCII, other characters percent-encoded",
                text.escape_debug().take(200).collect::<String>()
            ),
        ),
    }
}

/// Checks the fields of an answer that a policy hands out: tokens for names, no control characters in values.
pub(crate) fn answer_fields(place: &'static str, fields: Vec<(String, String)>) -> Result<HeaderMap, Broken> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            return broken(place, format!("`{}` is not a token", name.escape_debug()));
        };
        match HeaderValue::from_bytes(value.as_bytes()) {
            Ok(value_parsed) if !value.contains(char::is_control) => _ = map.append(parsed, value_parsed),
            _ => return broken(place, format!("the value of `{parsed}` has a control character")),
        }
    }
    Ok(map)
}

/// Checks a memo: at most 4 KiB.
pub(crate) fn memo(place: &'static str, memo: Option<&str>) -> Result<(), Broken> {
    memo.map_or(Ok(()), |memo| bytes_at_most(place, memo, MEMO_BYTES_MAX))
}

/// Checks labels: at most 8, each name once, and none of the host's labels.
pub(crate) fn labels(place: &'static str, labels: &[(String, String)]) -> Result<(), Broken> {
    const LABELS_MAX: usize = 8;
    const VALUE_BYTES_MAX: usize = 128;
    at_most(place, labels.len(), LABELS_MAX)?;
    for (index, (name, value)) in labels.iter().enumerate() {
        let fits = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !fits {
            return broken(place, format!("`{}` is not [a-z][a-z0-9_]{{0,63}}", name.escape_debug()));
        }
        if HOST_LABELS.contains(&name.as_str()) {
            return broken(place, format!("`{name}` is the gateway's own label"));
        }
        if labels[..index].iter().any(|(other, _)| other == name) {
            return broken(place, format!("`{name}` is there twice"));
        }
        bytes_at_most(place, value, VALUE_BYTES_MAX)?;
        if value.contains(char::is_control) {
            return broken(place, format!("the value of `{name}` has a control character"));
        }
    }
    Ok(())
}

/// Checks the code of a refusal: `[a-z0-9-]{1,64}`, and none of the gateway's own codes.
pub(crate) fn refusal_code(place: &'static str, code: &str) -> Result<(), Broken> {
    let fits =
        (1..=64).contains(&code.len()) && code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !fits {
        return broken(place, format!("`{}` is not [a-z0-9-]{{1,64}}", code.escape_debug()));
    }
    if Code::of_name(code).is_some() {
        return broken(place, format!("`{code}` is a code of the gateway's own"));
    }
    Ok(())
}

/// Checks that there is no option that this gateway does not know: `first` is the first such one.
pub(crate) fn no_options(place: &'static str, first: Option<&str>) -> Result<(), Broken> {
    first.map_or(Ok(()), |name| {
        broken(place, format!("`{}` is not an option that this gateway knows", name.escape_debug()))
    })
}
