//! The framing of an answer, made anew from what was used to read it (RFC 9112 §6.3). Whoever passes the
//! answer on, or keeps it, then finds one length or none.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

/// The answer to a request with the method `asked` has these framing fields that contradict each other, or
/// that nobody here can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer's transfer coding is not `chunked` alone")]
pub struct UnreadableFraming;

/// Whether a connection may take another request after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionReuse {
    /// The answer ends where its framing says.
    Safe,
    /// The answer has no body by its status or its request's method, and its framing announces one. A service
    /// that sends this body all the same would answer the next request with it. Or the answer says that it is the
    /// last one, which hyper does not see where `Connection` has a byte that is not ASCII. Or the service may take
    /// whoever comes next over the connection for the caller that it knows ([`names_connections_caller`]).
    Unsafe,
}

/// Makes the framing fields of an answer anew: one `Content-Length`, or none. `asked`: the request's method.
/// hyper reads by `Transfer-Encoding` if there is one, so the length beside it goes.
pub(super) fn renew<B>(
    asked: &Method,
    answer: &mut Response<B>,
) -> Result<ConnectionReuse, UnreadableFraming> {
    let status = answer.status();
    let has_no_body = *asked == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let fields = answer.headers_mut();
    let is_coded = fields.contains_key(header::TRANSFER_ENCODING);
    if is_coded && !has_no_body && !is_chunked_once(fields) {
        return Err(UnreadableFraming);
    }
    let is_sized = fields.contains_key(header::CONTENT_LENGTH);
    let length = if is_coded { None } else { length(fields) };
    if is_coded {
        fields.remove(header::TRANSFER_ENCODING);
    }
    // An answer with these statuses has no length (RFC 9110 §8.6).
    match length.filter(|_| status != StatusCode::NO_CONTENT && !status.is_informational()) {
        Some(length) if is_written_once(fields, length) => {}
        Some(length) => _ = fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None if is_sized => _ = fields.remove(header::CONTENT_LENGTH),
        None => {}
    }
    let announces_body = is_coded || (is_sized && length != Some(0));
    let is_unsafe = (has_no_body && announces_body)
        || closes(fields)
        || names_connections_caller(fields, header::WWW_AUTHENTICATE);
    Ok(if is_unsafe { ConnectionReuse::Unsafe } else { ConnectionReuse::Safe })
}

/// Whether a field asks for, or has, a credential by which a service knows the caller of a whole connection instead
/// of a request (RFC 4559 §6, and NTLM).
pub(super) fn names_connections_caller(fields: &HeaderMap, name: header::HeaderName) -> bool {
    elements(fields, name).any(|element| {
        let scheme = element.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        [&b"negotiate"[..], b"ntlm", b"kerberos"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

/// Whether a message says that its connection ends after it.
pub(super) fn closes(fields: &HeaderMap) -> bool {
    elements(fields, header::CONNECTION).any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// The elements of a list that may stand in several fields. They are bytes: a byte that is not ASCII is its own
/// element's affair, and hides no other.
pub fn elements(fields: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = fields.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_chunked_once(fields: &HeaderMap) -> bool {
    let mut codings = elements(fields, header::TRANSFER_ENCODING);
    codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// The length that all `Content-Length` fields agree on.
fn length(fields: &HeaderMap) -> Option<u64> {
    let number = |text: &[u8]| -> Option<u64> {
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
    };
    let mut lengths = elements(fields, header::CONTENT_LENGTH).map(number);
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

/// Whether one field says this length, which all say, and says it in its shortest writing.
fn is_written_once(fields: &HeaderMap, length: u64) -> bool {
    let digits = length.checked_ilog10().unwrap_or(0) + 1;
    let mut values = fields.get_all(header::CONTENT_LENGTH).into_iter();
    values.next().is_some_and(|value| value.len() == digits as usize) && values.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    /// The renewed framing of an answer: its length, and whether its connection may be used again.
    fn renewed(
        asked: Method,
        status: StatusCode,
        fields: &[(&'static str, &'static str)],
    ) -> Option<(Option<String>, ConnectionReuse)> {
        let mut answer = Response::new(());
        *answer.status_mut() = status;
        for (name, value) in fields {
            answer.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let reuse = renew(&asked, &mut answer).ok()?;
        assert!(!answer.headers().contains_key(header::TRANSFER_ENCODING));
        let length = answer.headers().get(header::CONTENT_LENGTH);
        Some((length.map(|length| length.to_str().expect("digits").to_owned()), reuse))
    }

    #[test]
    fn an_odd_byte_hides_no_close() {
        for (value, is_last) in
            [(&b"close, caf\xe9"[..], true), (b"\xff,CLOSE", true), (b"\xc3\xa9\tclose", false)]
        {
            let value = HeaderValue::from_bytes(value).expect("a field");
            let fields = HeaderMap::from_iter([(header::CONNECTION, value)]);
            assert_eq!(closes(&fields), is_last, "{fields:?}");
        }
    }

    const CODED: &str = "transfer-encoding";
    const SIZED: &str = "content-length";

    #[test]
    fn an_answer_has_one_length_or_none() {
        for (fields, expected) in [
            (&[(SIZED, "2")][..], Some("2")),
            (&[(SIZED, "2, 2")], Some("2")),
            (&[(SIZED, "2"), (SIZED, "02")], Some("2")),
            (&[(CODED, "chunked"), (SIZED, "4")], None),
            (&[(SIZED, "4"), (SIZED, "5"), (CODED, " Chunked")], None),
            (&[], None),
        ] {
            let renewed = renewed(Method::POST, StatusCode::OK, fields);
            assert_eq!(renewed, Some((expected.map(str::to_owned), ConnectionReuse::Safe)), "{fields:?}");
        }
    }

    #[test]
    fn a_coding_but_chunked_alone_is_refused() {
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["gzip"],
            &["identity"],
            &["chunked, identity"],
            &[""],
            &["chunked;q=1"],
        ] {
            let fields: Vec<_> = codings.iter().map(|coding| (CODED, *coding)).collect();
            assert_eq!(renewed(Method::POST, StatusCode::OK, &fields), None, "{codings:?}");
            assert!(renewed(Method::HEAD, StatusCode::OK, &fields).is_some(), "{codings:?}");
        }
    }

    #[test]
    fn an_announced_body_that_must_not_come_ends_reuse() {
        let (head, post) = (Method::HEAD, Method::POST);
        for (asked, status, fields, length, reuse) in [
            (&head, 200, &[(SIZED, "5")][..], Some("5"), ConnectionReuse::Unsafe),
            (&head, 200, &[(CODED, "chunked")], None, ConnectionReuse::Unsafe),
            (&head, 200, &[(SIZED, "5"), (SIZED, "6")], None, ConnectionReuse::Unsafe),
            (&head, 200, &[(SIZED, "0")], Some("0"), ConnectionReuse::Safe),
            (&head, 200, &[], None, ConnectionReuse::Safe),
            (&post, 204, &[(SIZED, "5")], None, ConnectionReuse::Unsafe),
            (&post, 204, &[(SIZED, "0")], None, ConnectionReuse::Safe),
            (&post, 204, &[(CODED, "chunked")], None, ConnectionReuse::Unsafe),
            (&post, 304, &[(SIZED, "5")], Some("5"), ConnectionReuse::Unsafe),
            (&post, 304, &[], None, ConnectionReuse::Safe),
            (&post, 200, &[(SIZED, "5")], Some("5"), ConnectionReuse::Safe),
            (&post, 200, &[(SIZED, "5"), ("connection", "x, Close")], Some("5"), ConnectionReuse::Unsafe),
            (
                &post,
                401,
                &[("www-authenticate", "Basic, NTLM"), (SIZED, "5")],
                Some("5"),
                ConnectionReuse::Unsafe,
            ),
            (&post, 401, &[("www-authenticate", "Basic realm=ntlm")], None, ConnectionReuse::Safe),
            (&post, 200, &[(SIZED, "5"), ("connection", "closed")], Some("5"), ConnectionReuse::Safe),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let renewed = renewed(asked.clone(), status, fields);
            assert_eq!(renewed, Some((length.map(str::to_owned), reuse)), "{asked} {status} {fields:?}");
        }
    }
}
