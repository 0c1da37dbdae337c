//! Header fields on their way through: hop-by-hop fields (RFC 9110 §7.6), the gateway's own fields, and the
//! fields that are kept with an answer (`design/headers.md`).

use crate::edge::Peer;
use bytes::Bytes;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};
use oncegate_config::is_reserved;
use oncegate_upstream::elements;
use std::collections::HashSet;
use std::net::IpAddr;

/// Whether a field belongs to one connection; or says where a body ends with `_` for `-`, as CGI reads it; or is what CGI
/// calls the variable by which clients choose a proxy (CVE-2016-5385).
/// `Trailer` does not: `Trailer` announces trailers that are kept, and hyper sends only announced trailers.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "transfer_encoding"
            | "content_length"
            | "proxy"
    )
}

/// Whether `Connection` names this field, so that nobody may rely on the field.
pub fn names_in_connection(fields: &HeaderMap, name: &str) -> bool {
    elements(fields, header::CONNECTION).any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether two names, in lower case, are one to a service that takes `_` for `-` as CGI does.
pub fn are_twins(a: &str, b: &str) -> bool {
    let plain = |byte| if byte == b'_' { b'-' } else { byte };
    a.len() == b.len() && a.bytes().map(plain).eq(b.bytes().map(plain))
}

/// Removes the fields whose names are so. The names are looked at one by one: most messages have no such field,
/// and a look at a name is cheaper than a search for it.
fn remove_where(fields: &mut HeaderMap, is_so: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = fields.keys().filter(|name| is_so(name.as_str())).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

/// Removes the fields that belong to one connection, and the fields that `Connection` names.
pub fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = match fields.contains_key(header::CONNECTION) {
        true => elements(fields, header::CONNECTION)
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            .collect(),
        false => Vec::new(),
    };
    for name in named {
        fields.remove(name);
    }
    remove_where(fields, is_hop_by_hop);
}

/// Sets a field in place of any other that a service may take for it.
pub fn set_alone(fields: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    remove_where(fields, |own| are_twins(own, name.as_str()));
    fields.insert(name, value);
}

/// Removes the gateway's own fields from a message, so that nobody else can speak for the gateway.
pub fn remove_ours(fields: &mut HeaderMap) {
    remove_where(fields, is_ours);
}

/// Whether a field is one that only the gateway sets, also with `_` for `-`.
fn is_ours(name: &str) -> bool {
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|own| are_twins(own, prefix));
    // The first letters are compared first, because this is asked of each field of each message.
    (name.starts_with("once") && begins("oncegate-"))
        || (name.starts_with("idem") && are_twins(name, "idempotent-replayed"))
}

/// Fields that trailers can't have, beside those that are reserved (RFC 9110 §6.5.1): who reads them has
/// acted on the head by then, or takes them for somebody else's word.
const NOT_IN_TRAILERS: [HeaderName; 18] = [
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::MAX_FORWARDS,
    header::RANGE,
    header::AGE,
    header::DATE,
    header::EXPIRES,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::VIA,
    HeaderName::from_static("idempotent-replayed"),
];

/// Whether trailers may have the field of this name, which is written with `-`.
fn may_trail(name: &str) -> bool {
    let is = |own: &HeaderName| own == name;
    !is_reserved(name)
        && !NOT_IN_TRAILERS.iter().any(is)
        && !is_forwarding(name)
        && !name.starts_with("if-")
        && name != "idempotency-key"
}

/// A name as a service reads it that takes `_` for `-` as CGI does.
fn with_hyphens(name: &str) -> String {
    name.replace('_', "-")
}

/// Removes fields that trailers can't have.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| !may_trail(&with_hyphens(name)));
}

/// The most trailers that are announced. hyper takes no more than a hundred of a message.
const ANNOUNCED_MAX: usize = 256;

/// Removes fields from `Trailer` that trailers can't have, or for which `also` says no, and all of it where it
/// announces too many. hyper does not send what `Trailer` does not announce.
pub fn clean_announcement(fields: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    if !fields.contains_key(header::TRAILER) {
        return;
    }
    let names: Vec<_> = announced(fields).take(ANNOUNCED_MAX + 1).collect();
    let is_fit = |name: &HeaderName| may_trail(&with_hyphens(name.as_str())) && also(name);
    if names.len() <= ANNOUNCED_MAX && names.iter().all(|name| name.as_ref().is_ok_and(is_fit)) {
        return;
    }
    fields.remove(header::TRAILER);
    if names.len() <= ANNOUNCED_MAX {
        let fit: Vec<HeaderName> = names.into_iter().flatten().filter(is_fit).collect();
        announce(fields, &fit);
    }
}

/// The names in `Trailer`, and what is no name there.
fn announced(fields: &HeaderMap) -> impl Iterator<Item = Result<HeaderName, InvalidHeaderName>> + '_ {
    elements(fields, header::TRAILER).map(HeaderName::from_bytes)
}

/// Whether a field of an answer is kept for its duplicates.
fn is_kept(name: &str, status: u16, strip: &[String]) -> bool {
    match name {
        "set-cookie"
        | "date"
        | "age"
        | "www-authenticate"
        | "authentication-info"
        | "alt-svc"
        | "server-timing" => false,
        "retry-after" => (200..400).contains(&status),
        "content-length" => false,
        _ => {
            !(name.starts_with("proxy-")
                || name.starts_with("ratelimit")
                || name.starts_with("x-ratelimit-")
                || is_ours(name)
                || strip.iter().any(|stripped| stripped == name))
        }
    }
}

/// The fields of an answer that are kept, all in one allocation.
pub fn kept(fields: &HeaderMap, status: u16, strip: &[String]) -> Vec<(Bytes, Bytes)> {
    exact(fields, |name| is_kept(name.as_str(), status, strip))
}

/// The kept fields of an answer that somebody other than the upstream hands in.
pub fn kept_fields(fields: &HeaderMap, status: u16, strip: &[String]) -> Vec<(Bytes, Bytes)> {
    let mut fields = fields.clone();
    remove_hop_by_hop(&mut fields);
    remove_ours(&mut fields);
    kept(&fields, status, strip)
}

/// The fields of an answer that freed the key, for requests that waited for the answer: the kept fields, and
/// `Retry-After`.
pub fn shared(fields: &HeaderMap, status: u16, strip: &[String]) -> Vec<(Bytes, Bytes)> {
    let wanted = |name: &HeaderName| *name == header::RETRY_AFTER || is_kept(name.as_str(), status, strip);
    exact(fields, wanted)
}

/// Copies the wanted fields into one allocation of exactly their size.
fn exact(fields: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> Vec<(Bytes, Bytes)> {
    let chosen: Vec<(&HeaderName, &HeaderValue)> = fields.iter().filter(|(name, _)| wanted(name)).collect();
    let size = chosen.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut text = Vec::with_capacity(size);
    let mut ends = Vec::with_capacity(chosen.len());
    for (name, value) in chosen {
        text.extend_from_slice(name.as_str().as_bytes());
        let middle = text.len();
        text.extend_from_slice(value.as_bytes());
        ends.push((middle, text.len()));
    }
    let text = Bytes::from(text);
    let mut start = 0;
    let mut copied = Vec::with_capacity(ends.len());
    for (middle, end) in ends {
        copied.push((text.slice(start..middle), text.slice(middle..end)));
        start = end;
    }
    copied
}

/// Kept fields as they are sent again.
pub fn restored(kept: &[(Bytes, Bytes)], room: usize) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(kept.len() + room);
    for (name, value) in kept {
        // Name and value were a field of an answer once. Anything else that the store may hold is left out
        // rather than sent.
        if let Ok(name) = HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_maybe_shared(value.clone())
        {
            fields.append(name, value);
        }
    }
    fields
}

/// Announces trailers in `Trailer`: hyper's server sends only trailers that are announced.
pub fn announce<'a>(fields: &mut HeaderMap, trailers: impl IntoIterator<Item = &'a HeaderName>) {
    let mut trailers = trailers.into_iter().peekable();
    if trailers.peek().is_none() {
        return;
    }
    let mut known: HashSet<HeaderName> = announced(fields).flatten().collect();
    for name in trailers {
        if known.insert(name.clone()) {
            fields.append(header::TRAILER, HeaderValue::from_name(name.clone()));
        }
    }
}

/// How the gateway names itself in `Via`.
const VIA: HeaderValue = HeaderValue::from_static("1.1 oncegate");
/// The name in [`VIA`].
const OWN_NAME: &str = "oncegate";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How many gateways of this kind a message has passed by its `Via` (RFC 9110 §7.6.3).
pub fn gateways_passed(fields: &HeaderMap) -> usize {
    let is_own = |passed: &&[u8]| {
        let mut words = passed.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(OWN_NAME.as_bytes()))
    };
    elements(fields, header::VIA).filter(is_own).count()
}

/// Adds `Via` and the `X-Forwarded-*` fields. An untrusted peer's own are removed. `Forwarded` goes on only if a
/// trusted proxy sent it.
pub fn add_forwarding(fields: &mut HeaderMap, peer: Peer, authority: &str) {
    append_element(fields, header::VIA, VIA);
    if !peer.trusted {
        remove_where(fields, is_forwarding);
    }
    append_element(fields, FORWARDED_FOR, peer.address.to_string());
    if fields.contains_key(header::FORWARDED) {
        // RFC 7239 §6: an IPv6 address stands in brackets and quotes.
        let node = match peer.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        append_element(fields, header::FORWARDED, format!("for={node};proto={}", peer.scheme.as_str()));
    }
    if let Entry::Vacant(vacant) = fields.entry(FORWARDED_HOST)
        && let Ok(authority) = HeaderValue::from_str(authority)
    {
        vacant.insert(authority);
    }
    if let Entry::Vacant(vacant) = fields.entry(FORWARDED_PROTO) {
        vacant.insert(HeaderValue::from_static(peer.scheme.as_str()));
    }
}

/// Whether a field says what a proxy knows of its client, also with `_` for `-`.
fn is_forwarding(name: &str) -> bool {
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|own| are_twins(own, prefix));
    name == "forwarded" || begins("x-forwarded-") || are_twins(name, "x-real-ip")
}

/// Adds an element to a field that is a list.
fn append_element(fields: &mut HeaderMap, name: HeaderName, element: impl TryInto<HeaderValue>) {
    let Ok(element) = element.try_into() else { return };
    match fields.entry(name) {
        Entry::Vacant(vacant) => _ = vacant.insert(element),
        Entry::Occupied(mut occupied) => {
            let own = occupied.iter().chain([&element]);
            let list = own.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
            if let Ok(list) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
                occupied.insert(list);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::{Protocol, Scheme};

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut fields =
            map(&[("connection", "close, X-Hop"), ("x-hop", "1"), ("proxy", "http://a"), ("x-end", "2")]);
        assert!(names_in_connection(&fields, "x-hop"));
        assert!(!names_in_connection(&fields, "x-end"));
        remove_hop_by_hop(&mut fields);
        assert_eq!(fields, map(&[("x-end", "2")]));
    }

    /// The whole field was skipped, with all elements that were joined to it later.
    #[test]
    fn an_odd_byte_hides_no_other_element() {
        for odd in [&b"caf\xe9"[..], b"1.1 caf\xc3\xa9", b"\xff", b"\t"] {
            let list = |element: &str| {
                [[odd, element.as_bytes()].join(&b", "[..]), [element.as_bytes(), odd].join(&b","[..])]
                    .map(|list| HeaderValue::from_bytes(&list).expect("a field"))
            };
            for [first, second] in [list("X-Hop"), list("x-hop")] {
                let mut fields = map(&[("x-hop", "1"), ("x-end", "2")]);
                fields.append("connection", first);
                assert!(names_in_connection(&fields, "x-hop"), "{fields:?}");
                fields.insert("connection", second);
                assert!(names_in_connection(&fields, "x-hop"), "{fields:?}");
                remove_hop_by_hop(&mut fields);
                assert_eq!(fields, map(&[("x-end", "2")]));
            }
            let [first, second] = list("1.0 OnceGate (edge)");
            let mut fields = HeaderMap::from_iter([(header::VIA, first), (header::VIA, second)]);
            assert_eq!(gateways_passed(&fields), 2, "{fields:?}");
            add_forwarding(&mut fields, peer(false), "a.example");
            assert_eq!(gateways_passed(&fields), 3, "{fields:?}");
        }
    }

    #[test]
    fn what_changes_each_time_is_not_kept() {
        let all = map(&[
            ("location", "/1"),
            ("date", "x"),
            ("age", "1"),
            ("proxy-status", "x"),
            ("x-ratelimit-limit", "1"),
            ("ratelimit", "x"),
            ("retry-after", "3"),
            ("x-secret", "s"),
            ("etag", "e"),
        ]);
        let names = |kept: Vec<(Bytes, Bytes)>| {
            kept.into_iter().map(|(n, _)| String::from_utf8_lossy(&n).into_owned()).collect::<Vec<_>>()
        };
        let strip = vec!["x-secret".to_owned()];
        assert_eq!(names(kept(&all, 201, &strip)), ["location", "retry-after", "etag"]);
        assert_eq!(names(kept(&all, 500, &strip)), ["location", "etag"]);
        assert_eq!(names(shared(&all, 429, &strip)), ["location", "retry-after", "etag"]);
    }

    #[test]
    fn a_trailer_is_announced_once() {
        let mut fields = map(&[("trailer", "X-A, X-B")]);
        let [a, b, c] = ["x-a", "x-b", "x-c"].map(HeaderName::from_static);
        announce(&mut fields, [&a, &b, &c, &c]);
        assert_eq!(fields.get_all("trailer").iter().collect::<Vec<_>>(), ["X-A, X-B", "x-c"]);
    }

    #[test]
    fn trailers_have_no_field_of_the_head() {
        let unfit = [
            "oncegate-operation",
            "oncegate_operation",
            "idempotent-replayed",
            "idempotency-key",
            "content_length",
            "x-forwarded-for",
            "x_real_ip",
            "if-match",
            "authorization",
        ];
        let mut trailers: HeaderMap = unfit
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .into_iter()
            .chain(map(&[("x-checksum", "1")]).into_iter().filter_map(|(name, value)| Some((name?, value))))
            .collect();
        clean_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("x-checksum", "1")]));
    }

    /// A search for each name among all names took seconds for 64 KiB of them.
    #[test]
    fn too_many_announcements_are_none() {
        for (count, fit) in [(ANNOUNCED_MAX, true), (ANNOUNCED_MAX + 1, false), (16_000, false)] {
            let names: Vec<_> = (1..count).map(|n| format!("x{n}")).collect();
            let list = HeaderValue::from_str(&format!("age,{}", names.join(","))).expect("it is text");
            let mut fields: HeaderMap = [(header::TRAILER, list)].into_iter().collect();
            clean_announcement(&mut fields, |_| true);
            assert_eq!(fields.get_all(header::TRAILER).iter().count(), if fit { count - 1 } else { 0 });
        }
    }

    #[test]
    fn a_field_set_alone_has_no_twin() {
        let mut fields = map(&[("idempotency_key", "mine"), ("idempotency-key", "mine"), ("x_key", "2")]);
        set_alone(&mut fields, &HeaderName::from_static("idempotency-key"), HeaderValue::from_static("1"));
        assert_eq!(fields, map(&[("idempotency-key", "1"), ("x_key", "2")]));
    }

    #[test]
    fn only_what_may_trail_is_announced() {
        for (said, fit) in [
            ("X-A, X-B", &["X-A, X-B"][..]),
            ("X-A, Oncegate-Operation, x-b", &["x-a", "x-b"]),
            ("x-user, x-a", &["x-a"]),
            ("X_User, X_A", &["x_a"]),
            ("content-length", &[]),
            ("x a, x-b", &["x-b"]),
        ] {
            let mut fields = map(&[("trailer", said)]);
            clean_announcement(&mut fields, |name| !are_twins(name.as_str(), "x-user"));
            assert_eq!(fields.get_all("trailer").iter().collect::<Vec<_>>(), fit, "{said}");
        }
    }

    fn peer(trusted: bool) -> Peer {
        let address = "10.0.0.1".parse().expect("an address");
        Peer { address, trusted, scheme: Scheme::Http, protocol: Protocol::HTTP_11 }
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let mut fields = map(&[("x-forwarded-for", "6.6.6.6"), ("via", "1.0 old")]);
        add_forwarding(&mut fields, peer(false), "a.example");
        assert_eq!(fields["x-forwarded-for"], "10.0.0.1");
        assert_eq!(fields["via"], "1.0 old, 1.1 oncegate");
        let mut fields = map(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]);
        add_forwarding(&mut fields, peer(true), "a.example");
        assert_eq!(fields["x-forwarded-for"], "6.6.6.6, 10.0.0.1");
        assert_eq!(fields["forwarded"], "for=6.6.6.6, for=10.0.0.1;proto=http");
    }

    #[test]
    fn no_forwarding_field_of_a_stranger_remains() {
        let all = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-client-cert", "Hash=1"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x_forwarded-prefix", "/admin"),
            ("x-real-ip", "6.6.6.6"),
            ("x_real_ip", "6.6.6.6"),
        ];
        let mut fields = map(&all);
        fields.insert("x-forwarding", HeaderValue::from_static("mine"));
        add_forwarding(&mut fields, peer(false), "a.example");
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarding"]);
        let mut fields = map(&all);
        add_forwarding(&mut fields, peer(true), "a.example");
        assert!(
            all.iter().all(|(name, _)| fields.contains_key(*name)),
            "a trusted proxy's go on: {fields:?}"
        );
    }
}
