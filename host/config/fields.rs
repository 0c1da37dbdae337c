//! Fields of requests that only the gateway may set.

/// Framing and hop-by-hop fields (RFC 9110 §7.6.1).
const FRAMING: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Fields that name the principal.
const CREDENTIALS: [&str; 6] = [
    "authorization",
    "cookie",
    "x-api-key",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// Whether the field of this lower-case name belongs to the connection or is the gateway's own.
pub(super) fn is_framing(name: &str) -> bool {
    FRAMING.contains(&name) || name.starts_with("oncegate-")
}

/// Whether neither a policy nor the configuration may set the field of this lower-case name.
pub fn is_reserved(name: &str) -> bool {
    is_framing(name) || CREDENTIALS.contains(&name)
}
