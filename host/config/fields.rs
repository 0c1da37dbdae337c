//! Fields of requests that are the gateway's to set.

/// Framing and hop-by-hop fields (RFC 9110 §7.6.1), and those that say who asks.
const RESERVED: [&str; 16] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "authorization",
    "cookie",
    "x-api-key",
    "http2-settings",
    "proxy-authentication-info",
];

/// Whether neither a policy nor the configuration may set the field of this lower-case name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("oncegate-")
}
