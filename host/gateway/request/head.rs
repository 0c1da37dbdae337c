//! The head of a request, normalised once (`design/edge.md`).

use crate::answer::problem::{Code, Problem};
use crate::edge::Protocol;
use http::request::Parts;
use http::{Method, StatusCode, header};
use oncegate_core::{OperationId, host_of};
use oncegate_policy::view;
use std::sync::Arc;

/// The head of a request, as received, before any rewriting.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Host name in lower case, with the port unless it is the default one.
    pub authority: Arc<str>,
    /// The path, percent-encoded, without the query.
    pub path: Arc<str>,
    /// The query; empty if there is none.
    pub query: String,
    /// Whether there is a query, empty or not.
    pub has_query: bool,
}

/// The operation that a look-up asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoughtOperation {
    /// The operation with this id.
    Id(OperationId),
    /// The path has no id that any operation could have.
    Nothing,
}

impl RequestHead {
    /// Reads a head. Refuses a head that could be read in two ways, a head whose body has a coding that would
    /// be lost here, and a head of more than `bytes_max` bytes.
    pub fn read(request: &Parts, protocol: Protocol, bytes_max: usize) -> Result<Self, Problem> {
        let uri = &request.uri;
        if size(request) > bytes_max {
            return Err(Problem::bad_request(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The head is too large",
                format!(
                    "The head of a request may have {bytes_max} bytes here: send less, or have the operator raise \
                 `server.limits.header_bytes`."
                ),
            ));
        }
        if request.method == Method::CONNECT {
            return Err(Problem::bad_request(
                StatusCode::METHOD_NOT_ALLOWED,
                "This is not a forward proxy",
                "This gateway stands in front of services and opens no tunnels: send the request itself.",
            )
            .with_field(header::ALLOW, "GET, POST"));
        }
        let mut hosts = request.headers.get_all(header::HOST).into_iter();
        let host = hosts.next();
        if hosts.next().is_some() || (host.is_none() && protocol.needs_host) {
            return Err(bad("An HTTP/1.1 request has exactly one `Host` field (RFC 9112 §3.2)."));
        }
        let host = match host {
            Some(host) => host.to_str().map_err(|_| bad("The `Host` field is not a host name."))?,
            None => "",
        };
        // The target's own authority wins over `Host` (RFC 9112 §3.2.2).
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        if authority.contains('@') || !authority.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("The host name has characters that a host name can't have."));
        }
        // hyper removes `chunked`, and any coding before it would be lost on the way.
        let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).into_iter();
        if !codings.all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
            return Err(Problem::bad_request(
                StatusCode::NOT_IMPLEMENTED,
                "The transfer coding is not known",
                "`Transfer-Encoding: chunked` is the only transfer coding taken here: compress with `Content-Encoding`.",
            ));
        }
        Ok(Self {
            method: request.method.clone(),
            authority: Arc::from(view::normal_authority(authority)),
            path: Arc::from(if uri.path().is_empty() { "/" } else { uri.path() }),
            query: uri.query().unwrap_or_default().to_owned(),
            has_query: uri.query().is_some(),
        })
    }

    /// The host name without its port.
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The operation that this look-up asks for; none: the request is no look-up.
    pub fn lookup(&self) -> Option<SoughtOperation> {
        let id = self.path.strip_prefix("/.oncegate/operations/")?;
        let sought = || id.parse().map_or(SoughtOperation::Nothing, SoughtOperation::Id);
        (self.method == Method::GET).then(sought)
    }

    /// The path with the query, as received.
    pub fn target(&self) -> String {
        if self.has_query { format!("{}?{}", self.path, self.query) } else { self.path.to_string() }
    }
}

/// The bytes of a head as HTTP/1.1 writes it. hyper's own bound holds for what hyper reads at once, which may
/// be up to twice as much.
fn size(request: &Parts) -> usize {
    const LINE: usize = "  HTTP/1.1\r\n".len();
    const FIELD: usize = ": \r\n".len();
    let uri = &request.uri;
    let origin = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = origin + uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    request.method.as_str().len() + target + LINE + fields.sum::<usize>() + "\r\n".len()
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use http::Request;

    const HTTP_11: Protocol = Protocol::HTTP_11;

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn head(uri: &str, hosts: &[&str]) -> Result<RequestHead, Problem> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        RequestHead::read(&parts(request), HTTP_11, usize::MAX)
    }

    #[test]
    fn case_and_default_port_change_no_authority() {
        for (uri, host, authority, name) in [
            ("/a?b=1", "API.example.com:80", "api.example.com", "api.example.com"),
            ("/a", "a.example:8080", "a.example:8080", "a.example"),
            ("http://B.example/a", "a.example", "b.example", "b.example"),
            ("/", "[::1]:80", "[::1]", "[::1]"),
        ] {
            let head = head(uri, &[host]).unwrap();
            assert_eq!((&*head.authority, head.host()), (authority, name));
        }
    }

    #[test]
    fn other_transfer_codings_than_chunked_are_refused() {
        for (coding, is_fine) in
            [("chunked", true), ("Chunked", true), ("gzip, chunked", false), ("gzip", false)]
        {
            let request = Request::builder().uri("/").header("host", "a").header("transfer-encoding", coding);
            assert_eq!(RequestHead::read(&parts(request), HTTP_11, usize::MAX).is_ok(), is_fine, "{coding}");
        }
    }

    #[test]
    fn a_head_is_bounded_to_the_byte() {
        for target in ["/a?b=1", "http://b.example/a?b=1"] {
            let sent = format!("POST {target} HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a: 22\r\n\r\n");
            let request = Request::post(target).header("host", "a").header("x-a", "1").header("x-a", "22");
            let request = parts(request);
            assert!(RequestHead::read(&request, HTTP_11, sent.len()).is_ok());
            assert!(RequestHead::read(&request, HTTP_11, sent.len() - 1).is_err());
        }
    }

    #[test]
    fn no_host_two_hosts_and_userinfo_are_refused() {
        assert!(head("/", &[]).is_err());
        assert!(head("/", &["a", "a"]).is_err());
        assert!(head("/", &["a@b"]).is_err());
    }
}
