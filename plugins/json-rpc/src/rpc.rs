//! JSON-RPC 2.0 as text. Knows nothing of the interface.

use json_event_parser::{JsonEvent, SliceJsonParser};
use std::fmt::Write as _;

/// Of the implementation-defined server errors, -32000 to -32099.
const SERVER_ERROR: i32 = -32_000;

/// A problem, as the gateway has it.
#[derive(Debug)]
pub struct Fault<'a> {
    pub code: &'a str,
    pub detail: &'a str,
    pub operation: Option<&'a str>,
    pub retryable: bool,
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            // Writing to a string doesn't fail.
            c if c < ' ' => _ = write!(json, "\\u{:04x}", u32::from(c)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// The most zeros that a number is given at its end. A double has no more.
const ZEROS_MAX: usize = 308;

/// A number of canonical JSON with its digits laid out. Canonical JSON writes what has more than 21 digits with an
/// exponent, and a client that sent an integer compares integers.
pub fn laid_out(number: &str) -> String {
    let Some((mantissa, exponent)) = number.split_once("e+") else { return number.into() };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match exponent.parse::<usize>() {
        Ok(places) if places < fraction.len() => {
            let (before, behind) = fraction.split_at(places);
            format!("{whole}{before}.{behind}")
        }
        Ok(places) if places - fraction.len() <= ZEROS_MAX => {
            format!("{whole}{fraction}{}", "0".repeat(places - fraction.len()))
        }
        Ok(_) | Err(_) => number.into(),
    }
}

/// An error response to the call with this id, as JSON.
pub fn error(id: &str, fault: &Fault<'_>) -> String {
    let operation = fault.operation.map_or_else(|| "null".into(), quoted);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{SERVER_ERROR},"message":{},"data":{{"code":{},"operation":{operation},"retryable":{}}}}}}}"#,
        quoted(fault.detail),
        quoted(fault.code),
        fault.retryable
    )
}

/// The members of a call.
const MEMBERS: [&str; 4] = ["jsonrpc", "method", "params", "id"];

/// A member of the outermost object whose name is one of a call's but for letter case, and that name. Go's
/// `encoding/json` and ASP.NET take the one for the other. The document is canonical: nothing between the tokens,
/// and no escapes in a name but where they must be.
pub fn misnamed(document: &str) -> Option<(&str, &'static str)> {
    let bytes = document.as_bytes();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = end_of_string(bytes, at + 1);
                if depth == 1 && bytes.get(end + 1) == Some(&b':') {
                    let name = document.get(at + 1..end)?;
                    let is = |member: &&str| name != *member && folded(name).eq(member.chars());
                    if let Some(meant) = MEMBERS.into_iter().find(is) {
                        return Some((name, meant));
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the quotes are that end a string.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return at,
            Some(_) => at += 1,
        }
    }
}

/// Small letters. The long s is an s to Go, too.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|c| if c == '\u{17f}' { 's' } else { c.to_ascii_lowercase() })
}

/// A response with this id in place of its own; none where it is no response with an id.
pub fn with_id(body: &[u8], id: &str) -> Option<Vec<u8>> {
    let mut parser = SliceJsonParser::new(body);
    // `key`: what comes next is the value of the outermost object's `id`.
    let (mut depth, mut found, mut key) = (0_usize, false, false);
    // The parser tells no places to cut at, so all is written anew, token by token.
    let mut out = String::with_capacity(body.len());
    let mut comma = false;
    loop {
        let event = parser.parse_next().ok()?;
        let separate = |out: &mut String, comma: bool| {
            if comma {
                out.push(',');
            }
        };
        match event {
            JsonEvent::Eof => break,
            JsonEvent::ObjectKey(name) => {
                separate(&mut out, comma);
                out.push_str(&quoted(&name));
                out.push(':');
                comma = false;
                key = depth == 1 && name == "id";
                continue;
            }
            JsonEvent::StartObject | JsonEvent::StartArray => {
                if key {
                    return None;
                }
                separate(&mut out, comma);
                out.push(if matches!(event, JsonEvent::StartObject) { '{' } else { '[' });
                if depth == 0 && !matches!(event, JsonEvent::StartObject) {
                    return None;
                }
                depth += 1;
                comma = false;
                continue;
            }
            JsonEvent::EndObject | JsonEvent::EndArray => {
                out.push(if matches!(event, JsonEvent::EndObject) { '}' } else { ']' });
                depth -= 1;
            }
            JsonEvent::String(text) => {
                separate(&mut out, comma);
                out.push_str(&if key { id.into() } else { quoted(&text) });
                found |= key;
            }
            JsonEvent::Number(number) => {
                separate(&mut out, comma);
                out.push_str(if key { id } else { &number });
                found |= key;
            }
            JsonEvent::Boolean(flag) => {
                separate(&mut out, comma);
                out.push_str(if flag { "true" } else { "false" });
            }
            JsonEvent::Null => {
                separate(&mut out, comma);
                out.push_str(if key { id } else { "null" });
                found |= key;
            }
        }
        key = false;
        comma = true;
    }
    found.then(|| out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(body: &str, id: &str) -> Option<String> {
        with_id(body.as_bytes(), id).map(|body| String::from_utf8(body).expect("it is text"))
    }

    #[test]
    fn the_id_is_the_askers_and_all_else_stays() {
        let body = r#"{"jsonrpc":"2.0","result":{"id":"x","n":[1.50,true,null,{"a":"\u0007\"é"}]},"id":1}"#;
        let wanted =
            r#"{"jsonrpc":"2.0","result":{"id":"x","n":[1.50,true,null,{"a":"\u0007\"é"}]},"id":"a-2"}"#;
        assert_eq!(fitted(body, "\"a-2\"").as_deref(), Some(wanted));
        assert_eq!(fitted(r#"{"id":"x","error":{}}"#, "7").as_deref(), Some(r#"{"id":7,"error":{}}"#));
        assert_eq!(fitted(r#"{"id":null}"#, "7").as_deref(), Some(r#"{"id":7}"#));
    }

    #[test]
    fn what_is_no_response_stays_as_it_is() {
        for body in
            ["", "[]", "{}", "{\"result\":1}", "{\"id\":", "{\"id\":[1]}", "{\"a\":{\"id\":1}}", "<html>"]
        {
            assert_eq!(fitted(body, "7"), None, "{body}");
        }
    }

    #[test]
    fn a_member_in_another_case_is_misnamed() {
        let cases = [
            (r#"{"Method":"charge","id":1}"#, Some(("Method", "method"))),
            (r#"{"METHOD":"charge","method":"ping"}"#, Some(("METHOD", "method"))),
            (r#"{"a":{"b":["]}\"\\"]},"jsonRPC":"2.0"}"#, Some(("jsonRPC", "jsonrpc"))),
            (r#"{"PARAMS":{},"method":"charge"}"#, Some(("PARAMS", "params"))),
            (r#"{"iD":1}"#, Some(("iD", "id"))),
            ("{\"param\u{17f}\":{}}", Some(("param\u{17f}", "params"))),
            (r#"{"id":1,"jsonrpc":"2.0","method":"charge","params":{"ID":1,"Method":[{"Params":1}]}}"#, None),
            (r#"{"a":"Method","b":"}","method":"METHOD"}"#, None),
            (r#"{"Methods":1,"\"Method":2,"\\":"Id","i d":3}"#, None),
            (r#"[{"Method":"charge"}]"#, None),
            ("{}", None),
            ("7", None),
        ];
        for (document, wanted) in cases {
            assert_eq!(misnamed(document), wanted, "{document}");
        }
    }

    #[test]
    fn digits_are_laid_out_where_zeros_are_few() {
        let most = format!("1{}", "0".repeat(308));
        let cases = [
            ("1.23456789012345678901234567890e+29", "123456789012345678901234567890"),
            ("-1.23456789012345678901234567891e+29", "-123456789012345678901234567891"),
            ("1e+30", "1000000000000000000000000000000"),
            ("-2.5e+22", "-25000000000000000000000"),
            ("1.2345678901234567890123e+21", "1234567890123456789012.3"),
            ("1e+308", &most),
            ("1e+309", "1e+309"),
            ("1e+2147483647", "1e+2147483647"),
            ("1.5", "1.5"),
            ("1e-7", "1e-7"),
            ("-12", "-12"),
            ("0", "0"),
        ];
        for (canonical, wanted) in cases {
            assert_eq!(laid_out(canonical), wanted, "{canonical}");
        }
    }

    #[test]
    fn an_error_names_the_problem() {
        let fault = Fault { code: "in-flight", detail: "say \"when\"", operation: None, retryable: true };
        let wanted = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32000,"message":"say \"when\"","data":{"code":"in-flight","operation":null,"retryable":true}}}"#;
        assert_eq!(error("3", &fault), wanted);
    }
}
