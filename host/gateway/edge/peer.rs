//! The other end of a connection, and the abilities of its protocol.

use http::Version;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

impl Peer {
    /// The network of a peer that is a caller itself. A trusted proxy, this machine and a private network may speak
    /// for many.
    pub fn own_network(&self) -> Option<IpAddr> {
        let speaks_for_many = self.trusted
            || match self.address {
                IpAddr::V4(address) => {
                    // 100.64.0.0/10 is shared by the customers of a carrier (RFC 6598), or by a cloud's machines.
                    let is_shared = address.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
                    address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
                }
                IpAddr::V6(address) => {
                    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
                }
            };
        (!speaks_for_many).then(|| network(self.address))
    }
}

/// The network that counts as one peer: one site has 64 bits of IPv6 addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_own_network_is_public() {
        let network = |address: &str, trusted| {
            let address = address.parse().expect("an address");
            Peer { address, trusted, scheme: Scheme::Http, protocol: Protocol::HTTP_11 }.own_network()
        };
        for many in [
            "127.0.0.9",
            "10.1.2.3",
            "192.168.0.7",
            "169.254.1.1",
            "100.127.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(network(many, false), None, "{many}");
        }
        assert_eq!(network("203.0.113.9", true), None, "a trusted proxy");
        assert!(network("100.128.0.1", false).is_some() && network("203.0.113.9", false).is_some());
        assert_eq!(network("2001:db8::1", false), network("2001:db8::2:0:0:1", false));
        assert_ne!(network("2001:db8::1", false), network("2001:db8:0:1::1", false));
    }
}
