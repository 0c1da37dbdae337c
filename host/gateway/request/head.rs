//! The head of a request, normalised once (`design/edge.md`).

use crate::answer::problem::{Code, Problem};
use crate::edge::Protocol;
use crate::request::fields::gateways_passed;
use crate::request::route::{Route, RoutingTable};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use oncegate_core::normal::{self, PathFault, PathRules};
use oncegate_core::{OperationId, host_of};
use std::borrow::Cow;
use std::sync::Arc;

/// The head of a request, as it is routed, judged, keyed and sent upstream.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The host in normal form, with the port unless it is the default one; empty if there is none.
    pub authority: Arc<str>,
    /// The path, percent-encoded, without the query; in normal form once [`Self::normalise`] has been called.
    pub path: Arc<str>,
    /// The query; empty if there is none.
    pub query: String,
    /// Whether there is a query, empty or not.
    pub has_query: bool,
    /// The target as it was received.
    received: Uri,
}

/// Methods that are refused in another case.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

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
            )
            .because("its head is larger than `server.limits.header_bytes`"));
        }
        check_method(&request.method)?;
        check_loop(&request.headers)?;
        if uri.authority().is_some() && uri.scheme().is_none() {
            return Err(bad(
                "its target is a host",
                "The target is a host, as only CONNECT sends it (RFC 9112 §3.2.3): send the path.",
            ));
        }
        if uri.path() == "*" && request.method != Method::OPTIONS {
            return Err(bad(
                "its target is `*`",
                "The target is `*`, as only OPTIONS sends it (RFC 9112 §3.2.4): send the path.",
            ));
        }
        let mut hosts = request.headers.get_all(header::HOST).into_iter();
        let host = hosts.next();
        if hosts.next().is_some() || (host.is_none() && protocol.needs_host) {
            let cause = if host.is_some() { "it has two `Host` fields" } else { "it has no `Host` field" };
            return Err(bad(cause, "An HTTP/1.1 request has exactly one `Host` field (RFC 9112 §3.2)."));
        }
        // The target's own authority wins over `Host` (RFC 9112 §3.2.2). Both have to be the name of a host.
        let field = host.map(|host| authority(host.to_str().unwrap_or_default(), uri)).transpose()?;
        let target = uri.authority().map(|target| authority(target.as_str(), uri)).transpose()?;
        // hyper removes `chunked`, and any coding before it would be lost on the way.
        let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).into_iter();
        let is_chunked =
            |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !codings.next().is_none_or(is_chunked) || codings.next().is_some() {
            return Err(Problem::bad_request(
                StatusCode::NOT_IMPLEMENTED,
                "The transfer coding is not known",
                "`Transfer-Encoding: chunked` is the only transfer coding taken here: compress with `Content-Encoding`.",
            )
            .because("its transfer coding is not known"));
        }
        Ok(Self {
            method: request.method.clone(),
            authority: Arc::from(target.or(field).unwrap_or_default()),
            path: Arc::from(if uri.path().is_empty() { "/" } else { uri.path() }),
            query: uri.query().unwrap_or_default().to_owned(),
            has_query: uri.query().is_some(),
            received: uri.clone(),
        })
    }

    /// Brings the path to its normal form. Refuses a path that can be read in two ways, if its host has a
    /// guarded route: one reading could go round the guard, or be another operation under the same key. Where
    /// the request names no host, the host is its route's.
    pub fn normalise(&mut self, rules: PathRules, routes: &RoutingTable) -> Result<(), Problem> {
        // The target of a question about the server as a whole (RFC 9112 §3.2.4).
        let is_whole = &*self.path == "*" && self.method == Method::OPTIONS;
        if rules != PathRules::AsReceived && !is_whole {
            let path = self.normal_path(rules, routes)?;
            if path != *self.path {
                self.path = Arc::from(path);
            }
        }
        if self.authority.is_empty() {
            let host = routes.host_of_hostless(&self.path, &self.method);
            self.authority = Arc::from(host.ok_or_else(|| {
                bad(
                    "it names no host, and several are served",
                    "Several hosts are served here, and the request names none: send a `Host` field.",
                )
            })?);
        }
        Ok(())
    }

    fn normal_path(&self, rules: PathRules, routes: &RoutingTable) -> Result<Cow<'_, str>, Problem> {
        let mut path = normal::normal_escapes(&self.path);
        if normal::path_fault(&path).is_some() && routes.guards(self.host()) {
            path = in_form(&self.path, rules).map_err(|fault| {
                Problem::new(
                    Code::BadRequest,
                    format!(
                        "The path has {fault}, so that it can be read in more than one way: write it plainly."
                    ),
                )
                .because(fault.what())
            })?;
        }
        let plain = normal::needed_escapes(&path);
        if plain != path && routes.guards(self.host()) {
            let route = |path: &str| routes.find(self.host(), path, &self.method).map(Arc::<Route>::as_ptr);
            if route(&plain) != route(&path) {
                return Err(bad(
                    "an escape in its path decides the route",
                    "The path escapes a character that needs no escape and decides which route takes the request: \
                     write the character itself.",
                ));
            }
        }
        Ok(path)
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

    /// The path with the query.
    pub fn target(&self) -> Uri {
        if self.received.authority().is_none() && *self.path == *self.received.path() {
            return self.received.clone();
        }
        let target =
            if self.has_query { format!("{}?{}", self.path, self.query) } else { self.path.to_string() };
        // The target was parsed when the request came in, so it parses again.
        target.parse().unwrap_or_default()
    }
}

/// The one form of a path on a host with a guarded route, or why it has none.
pub fn in_form(path: &str, rules: PathRules) -> Result<Cow<'_, str>, PathFault> {
    if rules == PathRules::AsReceived {
        return Ok(path.into());
    }
    let path = normal::normal_escapes(path);
    let Some(fault) = normal::path_fault(&path) else { return Ok(path) };
    if rules == PathRules::Strict {
        return Err(fault);
    }
    let merged = normal::merged(&path);
    normal::path_fault(&merged).map_or(Ok(merged.into()), Err)
}

/// The most gateways of this kind that a request may pass.
const GATEWAYS_MAX: usize = 16;

/// Refuses a request that goes round. A request may pass a gateway more than once, for different routes.
fn check_loop(fields: &HeaderMap) -> Result<(), Problem> {
    if gateways_passed(fields) < GATEWAYS_MAX {
        return Ok(());
    }
    Err(Problem::bad_request(
        StatusCode::LOOP_DETECTED,
        "The request goes round",
        format!(
            "By its `Via` the request has passed {GATEWAYS_MAX} gateways like this one: an upstream of theirs leads back \
             to one of them."
        ),
    )
    .because("it goes round"))
}

fn check_method(method: &Method) -> Result<(), Problem> {
    if *method == Method::CONNECT {
        return Err(Problem::bad_request(
            StatusCode::METHOD_NOT_ALLOWED,
            "This is not a forward proxy",
            "This gateway stands in front of services and opens no tunnels: send the request itself.",
        )
        .with_field(header::ALLOW, "GET, POST")
        .because("its method is CONNECT"));
    }
    // Some services write methods in capitals, and would take `post` for `POST`.
    let method = method.as_str();
    match METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method) && *known != method) {
        None => Ok(()),
        Some(known) => Err(Problem::new(
            Code::BadRequest,
            format!("Methods are told apart by the case of their letters (RFC 9110 §9.1): write `{known}`."),
        )
        .because("its method is not in capitals")),
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

/// The normal form of a target's authority.
pub fn normal_authority(text: &str, target: &Uri) -> Option<String> {
    let default_port = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    normal::normal_authority(text, default_port)
}

/// The normal form of a target's authority or of a `Host` field.
fn authority(text: &str, target: &Uri) -> Result<String, Problem> {
    normal_authority(text, target).ok_or_else(|| {
        let detail = "The host that the request names is not the name of a host (RFC 9112 §3.2).";
        bad("what it names is no host", detail)
    })
}

fn bad(cause: &'static str, detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail).because(cause)
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
            ("/", "pay.example.:080", "pay.example", "pay.example"),
            ("https://B.example:443/a", "a.example", "b.example", "b.example"),
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
        let twice = Request::builder().uri("/").header("host", "a");
        let twice = twice.header("transfer-encoding", "chunked").header("transfer-encoding", "chunked");
        assert!(RequestHead::read(&parts(twice), HTTP_11, usize::MAX).is_err());
    }

    #[test]
    fn a_known_method_has_one_writing() {
        for (method, is_fine) in [
            ("post", false),
            ("Post", false),
            ("get", false),
            ("POST", true),
            ("report", true),
            ("QUERY", true),
        ] {
            let request = Request::builder().method(method).uri("/").header("host", "a");
            assert_eq!(RequestHead::read(&parts(request), HTTP_11, usize::MAX).is_ok(), is_fine, "{method}");
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
    fn targets_of_other_methods_are_refused() {
        let read = |method: &str, uri: &str| {
            let request = parts(Request::builder().method(method).uri(uri).header("host", "a"));
            RequestHead::read(&request, HTTP_11, usize::MAX)
        };
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            for uri in ["h.example", "h.example:80", "v1"] {
                assert!(read(method, uri).is_err(), "{method} {uri}");
            }
            assert_eq!(read(method, "*").is_ok(), method == "OPTIONS", "{method}");
            assert!(read(method, "http://h.example").is_ok());
        }
    }

    #[test]
    fn no_host_two_hosts_and_userinfo_are_refused() {
        assert!(head("/", &[]).is_err());
        assert!(head("/", &["a", "a"]).is_err());
        for host in ["a@b", "", "a,b", "pay.example/x", "pay%2eexample", "a:b"] {
            assert!(head("/", &[host]).is_err(), "{host}");
            assert!(head("http://a.example/", &[host]).is_err(), "{host}");
        }
    }
}
