//! Who is at the other end of a connection, and what its protocol can do.

use http::Version;
use std::net::IpAddr;

/// Who is at the other end of a connection, and how it speaks. A connection has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// It is one of the trusted proxies.
    pub trusted: bool,
    /// How the connection is secured.
    pub scheme: Scheme,
    /// What its protocol can do. HTTP/1 names its version on each request, so this is the request's.
    pub protocol: Protocol,
}

/// The scheme of the URIs that a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Not secured.
    Http,
}

impl Scheme {
    /// As `X-Forwarded-Proto` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}

/// What a version of HTTP can do, as far as requests are taken and answers are sent differently by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    /// A request must name its host.
    pub needs_host: bool,
    /// An answer without a length has an end of its own. Where it has none, the end of the connection is
    /// the end of the answer, and a client can't tell a cut answer from a whole one.
    pub marks_end: bool,
    /// An answer can have trailers.
    pub has_trailers: bool,
}

impl Protocol {
    /// Without a `Host` of its own, chunks and trailers.
    pub const HTTP_10: Self =
        Self { name: "HTTP/1.0", needs_host: false, marks_end: false, has_trailers: false };
    /// With all of them.
    pub const HTTP_11: Self =
        Self { name: "HTTP/1.1", needs_host: true, marks_end: true, has_trailers: true };

    /// What this version can do.
    pub fn of(version: Version) -> Self {
        match version {
            Version::HTTP_10 => Self::HTTP_10,
            _ => Self::HTTP_11,
        }
    }
}
