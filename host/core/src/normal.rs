//! One reading of a request's path and host: the normal form that is routed, judged, keyed and sent upstream
//! (`design/edge.md`).

use crate::record::Origin;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// `server.paths`: the paths that a host with a guarded route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathRules {
    /// Other writings of a path are refused.
    #[default]
    Strict,
    /// Dot segments are removed and slashes merged; what is left of other writings is refused.
    Merge,
    /// Every path is taken, as it was received.
    AsReceived,
}

/// The rules of versions that brought only the host's case and its default port to one form.
const FIRST: u16 = 1;
/// Path and host in normal form. Strict and merging rules take no path in which they would differ.
const IN_FORM: u16 = 2;
/// The host in normal form, the path as received.
const AS_RECEIVED: u16 = 3;

impl PathRules {
    /// The number of the normalisation, which records keep. Other rules have another number.
    pub fn number(self) -> u16 {
        match self {
            Self::Strict | Self::Merge => IN_FORM,
            Self::AsReceived => AS_RECEIVED,
        }
    }
}

/// The rules of this number in words, for an operator.
pub fn rules_of(number: u16) -> &'static str {
    match number {
        FIRST => "as an earlier version of Oncegate did",
        IN_FORM => "by \"strict\" or \"merge\"",
        AS_RECEIVED => "by \"as-received\"",
        _ => "as a later version of Oncegate does",
    }
}

/// Whether the request behind `origin`, which was read by other rules, is read the same by the rules of this
/// number.
pub fn reads_alike(number: u16, origin: &Origin) -> bool {
    let authority = &*origin.authority;
    let host = authority.is_empty() || normal_authority(authority, 80).as_deref() == Some(authority);
    let path = match number {
        IN_FORM => normal_escapes(&origin.path) == *origin.path && path_fault(&origin.path).is_none(),
        // Of a path in normal form nobody knows how it was written.
        AS_RECEIVED => origin.normalisation == FIRST,
        _ => false,
    };
    host && path
}

/// A place where a path can be read in two ways, or in none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFault {
    /// The byte at which it begins, counted from 1.
    at: usize,
    what: &'static str,
    piece: String,
}

impl PathFault {
    /// The fault, without what the path has there.
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (`{}`) at byte {}", self.what, self.piece, self.at)
    }
}

/// The first fault of a path whose escapes are in normal form.
pub fn path_fault(path: &str) -> Option<PathFault> {
    // Most paths are plain, and this is asked of every one.
    if is_plain(path) { None } else { fault_in(path) }
}

/// Whether a path has only unreserved characters in segments that are not empty and begin with no dot.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let begins = std::mem::replace(&mut before, byte) == b'/';
            match byte {
                b'/' | b'.' => !begins,
                _ => is_unreserved(char::from(byte)),
            }
        })
}

fn fault_in(path: &str) -> Option<PathFault> {
    let fault = |at: usize, what, piece: &str| Some(PathFault { at: at + 1, what, piece: piece.to_owned() });
    let Some(segments) = path.strip_prefix('/') else { return fault(0, "no slash at its beginning", path) };
    let mut begin = 1;
    for segment in segments.split('/') {
        let end = begin + segment.len();
        if segment.is_empty() && end < path.len() {
            return fault(begin - 1, "an empty segment", "//");
        }
        // Some services cut a segment at `;` before they look at it.
        if matches!(segment.split(';').next(), Some("." | "..")) {
            return fault(begin, "a dot segment", segment);
        }
        for (at, character) in segment.char_indices() {
            let rest = &segment[at..];
            let what = match character {
                '%' => match escaped(rest) {
                    None => "a malformed escape",
                    Some(b'/') => "an escaped slash",
                    Some(b'\\') => "an escaped backslash",
                    Some(0) => "an escaped NUL",
                    Some(_) => continue,
                },
                '\\' => "a backslash",
                _ if is_path_character(character) => continue,
                _ => "a character that no path has",
            };
            let length = if character == '%' { 3 } else { 1 };
            return fault(begin + at, what, &rest.chars().take(length).collect::<String>());
        }
        begin = end + 1;
    }
    None
}

/// The path with the escapes of unreserved characters decoded and the other escapes in capitals (RFC 3986
/// §6.2.2). Malformed escapes stay.
pub fn normal_escapes(path: &str) -> Cow<'_, str> {
    decoded(path, is_unreserved)
}

/// The path with the escapes of all characters decoded that need none in a path.
pub fn needed_escapes(path: &str) -> Cow<'_, str> {
    decoded(path, |character| character != '%' && is_path_character(character))
}

fn decoded(path: &str, is_plain: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match escaped(rest).map(char::from) {
            None => {
                text.push('%');
                1
            }
            Some(character) if is_plain(character) => {
                text.push(character);
                3
            }
            Some(_) => {
                text.push_str(&rest[..3].to_ascii_uppercase());
                3
            }
        };
        rest = &rest[length..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The path without dot segments and empty segments (RFC 3986 §5.2.4).
pub fn merged(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = kept.pop(),
            _ => kept.push(segment),
        }
    }
    let is_open = matches!(path.rsplit('/').next(), Some("" | "." | "..")) && !kept.is_empty();
    format!("/{}{}", kept.join("/"), if is_open { "/" } else { "" })
}

/// The byte of the escape at the beginning of `text`.
fn escaped(text: &str) -> Option<u8> {
    let digits = text.as_bytes().get(1..3)?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()
}

fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~')
}

/// Whether a segment can have the character unescaped (RFC 3986 §3.3).
fn is_path_character(character: char) -> bool {
    is_unreserved(character) || "!$&'()*+,;=:@".contains(character)
}

/// The normal form of a host with or without a port: in lower case, without a dot at its end, the port a
/// number and left out where it is the scheme's. None: no host is written so.
pub fn normal_authority(text: &str, default_port: u16) -> Option<String> {
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let host = normal_host(host)?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = if port.is_empty() { default_port } else { port.parse().ok()? };
    Some(if port == default_port { host } else { format!("{host}:{port}") })
}

/// The normal form of a host without a port: a name, an IPv4 address, or an IPv6 address in brackets.
pub fn normal_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let mark = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(mark);
    let is_fine = (1..=253).contains(&name.len()) && name.split('.').all(label);
    is_fine.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PrincipalId;
    use std::sync::Arc;

    #[test]
    fn a_path_has_one_normal_form() {
        for (path, expected) in [
            ("/v1/charge%73", "/v1/charges"),
            ("/v1/%63%68arges", "/v1/charges"),
            ("/caf%c3%a9/%7ea%2Db", "/caf%C3%A9/~a-b"),
            ("/%2e%2E/a", "/../a"),
            ("/%2565/%25", "/%2565/%25"),
            ("/a%2f%3a%40", "/a%2F%3A%40"),
            ("/%/%4/%zz/%+1", "/%/%4/%zz/%+1"),
        ] {
            assert_eq!(normal_escapes(path), expected, "{path}");
            assert_eq!(normal_escapes(expected), expected, "again");
        }
        assert_eq!(needed_escapes("/a%3acapture%40%25%2F%20"), "/a:capture@%25%2F%20");
    }

    #[test]
    fn each_fault_of_a_path_is_named() {
        for (path, words) in [
            ("/v1//charges", "an empty segment (`//`) at byte 4"),
            ("//v1", "an empty segment (`//`) at byte 1"),
            ("/v1//", "an empty segment"),
            ("/v1/./a", "a dot segment (`.`) at byte 5"),
            ("/a/..", "a dot segment (`..`)"),
            ("/a/..;x=1/b", "a dot segment (`..;x=1`)"),
            ("/a\\b", "a backslash (`\\`) at byte 3"),
            ("/v1%2Fa", "an escaped slash (`%2F`) at byte 4"),
            ("/v1%5Ca", "an escaped backslash"),
            ("/v1%00", "an escaped NUL"),
            ("/v1%zz", "a malformed escape (`%zz`)"),
            ("/v1%", "a malformed escape (`%`)"),
            ("/a{b}", "a character that no path has (`{`) at byte 3"),
            ("/é", "a character that no path has"),
            ("*", "no slash"),
        ] {
            let fault = path_fault(path).map(|fault| fault.to_string()).unwrap_or_default();
            assert!(fault.starts_with(words), "{path}: {fault}");
        }
        for path in ["/", "/v1/", "/v1/charges:x@y,z;a=1", "/.well-known/a", "/...", "/a%20b", "/~a!$&'()*+"]
        {
            assert_eq!((path_fault(path), fault_in(path)), (None, None), "{path}");
        }
    }

    #[test]
    fn slashes_and_dot_segments_merge() {
        for (path, expected) in [
            ("/v1//charges", "/v1/charges"),
            ("//v1/./charges", "/v1/charges"),
            ("/public/../v1/charges", "/v1/charges"),
            ("/../../a/", "/a/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("//", "/"),
            ("*", "*"),
        ] {
            assert_eq!(merged(path), expected, "{path}");
        }
    }

    #[test]
    fn a_host_has_one_normal_form() {
        for (text, expected) in [
            ("PAY.example", Some("pay.example")),
            ("pay.example.", Some("pay.example")),
            ("pay.example:", Some("pay.example")),
            ("pay.example:080", Some("pay.example")),
            ("pay.example.:0008080", Some("pay.example:8080")),
            ("a_b.local", Some("a_b.local")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]:81", Some("[::1]:81")),
            ("pay.example/x", None),
            ("pay%2eexample", None),
            ("a,b", None),
            ("a@b", None),
            ("pay..example", None),
            ("pay.example..", None),
            ("pay.example:+80", None),
            ("pay.example:65536", None),
            ("pay.example:8o", None),
            ("::1", None),
            ("[::1]x", None),
            ("[v1.a]", None),
            (".", None),
            (":80", None),
            ("", None),
        ] {
            assert_eq!(normal_authority(text, 80).as_deref(), expected, "{text}");
        }
        assert_eq!(normal_authority("a:443", 443).as_deref(), Some("a"));
    }

    #[test]
    fn what_is_in_normal_form_keeps_its_key() {
        let origin = |number, authority: &str, path: &str| Origin {
            route: Arc::from("r"),
            policy: Arc::from("p"),
            key_schema: Arc::from("s/1"),
            key_epoch: 0,
            normalisation: number,
            method: Arc::from("POST"),
            authority: Arc::from(authority),
            path: Arc::from(path),
            principal: PrincipalId([0; 32]),
            first_sent: None,
        };
        let [in_form, as_received] = [PathRules::Strict, PathRules::AsReceived].map(PathRules::number);
        assert_eq!(PathRules::Merge.number(), in_form);
        for (to, from, authority, path, expected) in [
            (in_form, FIRST, "pay.example:81", "/v1/charges", true),
            (in_form, FIRST, "pay.example.", "/v1/charges", false),
            (in_form, FIRST, "", "/v1/charge%73", false),
            (in_form, as_received, "", "/v1//charges", false),
            (as_received, FIRST, "", "/v1//charges", true),
            (as_received, FIRST, "pay.example:", "/v1", false),
            (as_received, in_form, "", "/v1/charges", false),
            (9, FIRST, "", "/v1", false),
        ] {
            assert_eq!(reads_alike(to, &origin(from, authority, path)), expected, "{to} {authority} {path}");
        }
    }
}
