//! The other end of a connection, and the abilities of its protocol.

use http::Version;
use std::net::IpAddr;

/// The other end of a connection: address, trust, protocol. A connection has one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's address.
    pub address: IpAddr,
    /// Whether the peer is one of the trusted proxies.
    pub trusted: bool,
    /// The scheme, which says how the connection is secured.
    pub scheme: Scheme,
    /// The peer's protocol. HTTP/1 names its version on each request, so this is the request's version.
    pub protocol: Protocol,
}

/// The scheme of the URIs that a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A connection that is not secured.
    Http,
}

impl Scheme {
    /// The scheme as `X-Forwarded-Proto` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}

/// The abilities of a version of HTTP that change how requests are read and answers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The version's name.
    pub name: &'static str,
    /// Whether a request must name its host.
    pub needs_host: bool,
    /// Whether an answer without a length has an end mark. Without an end mark, the end of the connection is
    /// the end of the answer, and a client can't tell a cut answer from a whole one.
    pub marks_end: bool,
    /// Whether an answer can have trailers.
    pub has_trailers: bool,
    /// Whether a connection can switch to another protocol.
    pub can_switch: bool,
}

impl Protocol {
    /// HTTP/1.0: no required `Host`, no chunks, no trailers, no other protocol.
    pub const HTTP_10: Self = Self {
        name: "HTTP/1.0",
        needs_host: false,
        marks_end: false,
        has_trailers: false,
        can_switch: false,
    };
    /// HTTP/1.1: a required `Host`, chunks and trailers.
    pub const HTTP_11: Self =
        Self { name: "HTTP/1.1", needs_host: true, marks_end: true, has_trailers: true, can_switch: true };

    /// The abilities of this version.
    pub fn of(version: Version) -> Self {
        match version {
            Version::HTTP_10 => Self::HTTP_10,
            _ => Self::HTTP_11,
        }
    }
}
