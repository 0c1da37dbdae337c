//! `[upstreams.NAME]`: the services that executions go to.

use super::fields::is_reserved;
use super::probe::{self, ProbeConfig};
use super::reading::units::is_host;
use super::reading::{Item, PlainKey, Section, TableKey, Unset};
use super::server::Server;
use http::HeaderName;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// The upstream's name in the configuration.
    pub name: Arc<str>,
    /// Host name or address, as in the URL.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take.
    pub response_timeout: Duration,
    /// How long a body may pause between two pieces.
    pub body_idle_timeout: Duration,
    /// Whether the upstream honours the forwarded key itself.
    pub dedupes: bool,
    /// Whether repeating is allowed though nobody deduplicates.
    pub accept_repeats: bool,
    /// The field that tells the upstream the operation id, in place of any other field of that name.
    pub operation_header: Option<HeaderName>,
    /// How long after its end an execution may still take effect; none: no bound is configured.
    pub settle_after: Option<Duration>,
    /// How the upstream is asked about unknown outcomes.
    pub probe: ProbeConfig,
}

impl UpstreamConfig {
    /// True if a guarded request of this method may run twice: it is idempotent (RFC 9110 §9.2.2), or the
    /// upstream is declared to deduplicate or to take repeats. A GET is guarded because it acts.
    pub fn takes_repeats(&self, method: &str) -> bool {
        self.dedupes || self.accept_repeats || matches!(method, "PUT" | "DELETE")
    }
}

/// Bounds of every timeout towards an upstream.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// Bounds of `settle_after`.
const SETTLE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30 * 86_400);

const URLS: PlainKey<(String, u16)> = PlainKey::new(
    "urls",
    Unset::Fault("say where it listens: urls = [\"http://127.0.0.1:9000\"]"),
    only_url,
    "Where it listens: one `http://` URL of host and port.",
);
const CONNECT_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "connect_timeout",
    Unset::Value("\"2s\""),
    |item| item.duration(&TIMEOUT),
    "To an open connection; after it nothing was sent and the key is free.",
);
pub(super) const RESPONSE_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "response_timeout",
    Unset::Value("\"60s\""),
    |item| item.duration(&TIMEOUT),
    "From the end of the request to the head of the answer; after it the outcome is unknown.",
);
const BODY_IDLE_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "body_idle_timeout",
    Unset::Value("\"60s\""),
    |item| item.duration(&TIMEOUT),
    "Between two pieces of a body.",
);
const DEDUPES: PlainKey<bool> = PlainKey::new(
    "dedupes",
    Unset::Value("false"),
    |item| item.truth(),
    "The upstream itself honours the forwarded key: `when_unknown = \"resend\"` is allowed, and its 409 is unknown.",
);
const ACCEPT_REPEATS: PlainKey<bool> = PlainKey::new(
    "accept_repeats",
    Unset::Value("false"),
    |item| item.truth(),
    "`resend` is allowed though nobody deduplicates: an operation may run again.",
);
const OPERATION_HEADER: PlainKey<HeaderName> = PlainKey::new(
    "operation_header",
    Unset::Nothing(""),
    operation_header,
    "Send the operation id as this header too, in place of any other of that name: `\"Idempotency-Key\"` for an upstream that wants one of its own.",
);
const SETTLE_AFTER: PlainKey<Duration> = PlainKey::new(
    "settle_after",
    Unset::Nothing(""),
    |item| item.duration(&SETTLE),
    "No execution takes effect later than this after its end. Without it a probe's *did not happen* is never believed.",
);
const PROBE: TableKey = TableKey::table("probe");

/// Reads the sections.
pub(super) fn read(
    sections: Vec<(String, Section<'_>)>,
    server: &Server,
) -> BTreeMap<Arc<str>, Arc<UpstreamConfig>> {
    let one = |(name, section)| {
        let upstream = upstream(name, section, server);
        (upstream.name.clone(), Arc::new(upstream))
    };
    sections.into_iter().map(one).collect()
}

fn upstream(name: String, mut section: Section<'_>, server: &Server) -> UpstreamConfig {
    section.later(&["http2", "tls", "retry", "breaker", "bulkhead", "health"]);
    let (host, port) = section.find(&URLS).unwrap_or_default();
    if let Some(item) = section.item(&URLS) {
        refuse_own(&item, &host, port, server);
    }
    let upstream = UpstreamConfig {
        name: name.into(),
        host,
        port,
        connect_timeout: section.get(&CONNECT_TIMEOUT),
        response_timeout: section.get(&RESPONSE_TIMEOUT),
        body_idle_timeout: section.get(&BODY_IDLE_TIMEOUT),
        dedupes: section.get(&DEDUPES),
        accept_repeats: section.get(&ACCEPT_REPEATS),
        operation_header: section.find(&OPERATION_HEADER),
        settle_after: section.find(&SETTLE_AFTER),
        probe: probe::read(section.section(&PROBE)),
    };
    if upstream.accept_repeats {
        section.reading.warn(format!(
            "`{}.accept_repeats`: an operation whose outcome is unknown may run again where a route says `when_unknown = \"resend\"`",
            section.path
        ));
    }
    section.close();
    upstream
}

/// Refuses an upstream that is this gateway: requests would go round, or clients would reach the admin interface.
/// Names but `localhost` are not looked up.
fn refuse_own(item: &Item<'_>, host: &str, port: u16, server: &Server) {
    let addresses: Vec<IpAddr> = match host.trim_matches(['[', ']']).parse() {
        Ok(address) => vec![address],
        Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Err(_) => Vec::new(),
    };
    let is_own = |own: &SocketAddr| {
        own.port() == port && addresses.iter().any(|address| reaches(address.to_canonical(), own.ip()))
    };
    let listeners = server.listen.iter().map(|own| ("server.listen", own));
    let mut all = listeners.chain(server.admin.iter().map(|own| ("server.admin", own)));
    if let Some((key, own)) = all.find(|(_, own)| is_own(own)) {
        item.fault(
            format!("`{}` is {own}, where `{key}` of this gateway listens", item.path),
            "name the address of the service",
        );
    }
}

/// Whether a connection to `address` of this machine reaches a listener at `own`.
fn reaches(address: IpAddr, own: IpAddr) -> bool {
    // A connection to no address goes to this machine.
    let is_here = address.is_loopback() || address.is_unspecified();
    address == own
        || (address.is_ipv4() == own.is_ipv4()
            && is_here
            && (own.is_unspecified() || (address.is_unspecified() && own.is_loopback())))
}

fn operation_header(item: &Item<'_>) -> Option<HeaderName> {
    let help = "a header that is neither framing nor credentials, like \"Idempotency-Key\"";
    item.parsed(help, |text| {
        HeaderName::from_bytes(text.as_bytes()).ok().filter(|name| !is_reserved(name.as_str()))
    })
}

fn only_url(item: &Item<'_>) -> Option<(String, u16)> {
    let items = item.clone().list();
    match items.as_slice() {
        [] => item.refuse("one URL: urls = [\"http://127.0.0.1:9000\"]"),
        [one] => return url(one),
        [_, _, ..] => item.fault(
            format!("`{}` has {} URLs; more than one is not in this version yet", item.path, items.len()),
            "name one; a later version will balance between several",
        ),
    }
    None
}

/// Host and port of a URL that is nothing but an origin.
fn url(item: &Item<'_>) -> Option<(String, u16)> {
    let help = "a URL of scheme, host and port, like \"http://127.0.0.1:9000\"";
    let text = item.text(help)?;
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            item.fault(
                format!(
                    "`{}` has an https URL, and TLS towards upstreams is not in this version yet",
                    item.path
                ),
                "reach it by http:// over a network that you trust; a later version will know https://",
            );
            return None;
        }
        Some(_) => {
            item.refuse(help);
            return None;
        }
        None => {
            item.refuse(format!("write the scheme: \"http://{}\"", text.trim_start_matches('/')));
            return None;
        }
    };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        item.reading.fault_unshown(
            &item.node.set_by,
            &item.path,
            &format!("`{}` has a user or a password in it", item.path),
            "leave it out: what the clients send as Authorization is passed on",
        );
        return None;
    }
    if !path.is_empty() && path != "/" {
        item.fault(
            format!("`{}` has the path {path:?}, and requests go up with the path they came with", item.path),
            "leave it out; routes choose by path",
        );
        return None;
    }
    let parsed = authority.parse::<http::uri::Authority>().ok();
    let port = |authority: &http::uri::Authority| match (authority.port(), authority.as_str().ends_with(':'))
    {
        (Some(port), _) => Some(port.as_u16()).filter(|port| *port != 0),
        (None, false) if authority.host().len() == authority.as_str().len() => Some(80),
        (None, _) => None,
    };
    let found = parsed.and_then(|authority| Some((authority.host().to_lowercase(), port(&authority)?)));
    let found = found.filter(|(host, _)| is_host(host));
    if found.is_none() {
        item.refuse(help);
    }
    found
}
