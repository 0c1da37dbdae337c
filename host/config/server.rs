//! `[server]`: listeners, limits, shutdown.

use super::reading::units::is_token;
use super::reading::{Item, PlainKey, Section, TableKey, Unset, read_named};
use ipnet::IpNet;
use oncegate_core::PathRules;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Data listeners.
    pub listen: Vec<SocketAddr>,
    /// The admin listener; none: off.
    pub admin: Option<SocketAddr>,
    /// `Host` values (without port) that the admin listener answers to beside loopback names and
    /// its own address.
    pub admin_hosts: Vec<String>,
    /// The bearer token that a non-loopback admin listener asks for.
    pub admin_token: Option<Arc<str>>,
    /// Worker threads, at least 1 (0 in the file: one per core).
    pub workers: usize,
    /// How long a shutdown waits for executions.
    pub shutdown_grace: Duration,
    /// Peers whose `header:` principals and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Protocols beside `websocket` to which a client may switch.
    pub upgrades: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// The paths that hosts with a guarded route take.
    pub paths: PathRules,
    /// Access log.
    pub access_log: AccessLog,
}

/// `server.access_log`: `"off"`, `"text"` or `"json"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log.
    Off,
    /// A line of text for each request.
    Text,
    /// A JSON object for each request.
    Json,
}

/// `[server.limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open client connections.
    pub connections: usize,
    /// Bytes of all bodies held at one time, one half for those of requests and one for those of answers.
    pub buffers: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// How long a head may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is written to it.
    pub write_timeout: Duration,
    /// Bytes of a guarded request's body.
    pub body_bytes: usize,
    /// How long a guarded request's body may take to arrive.
    pub body_timeout: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);
const MIB: usize = 1 << 20;
/// The largest size, which is more than the memory of any machine. A larger size is a slip of the finger.
pub(super) const SIZE_MAX: usize = 1 << 42;

const LISTEN: PlainKey<Vec<SocketAddr>> =
    PlainKey::new("listen", Unset::Value("[\"127.0.0.1:8080\"]"), listeners, "Where requests come in.")
        .fixed();
const ADMIN: PlainKey<AdminListener> = PlainKey::new(
    "admin",
    Unset::Value("\"127.0.0.1:8081\""),
    admin_listener,
    "The admin listener, or `\"off\"`.",
)
.fixed();
const ADMIN_HOSTS: PlainKey<Vec<String>> = PlainKey::new(
    "admin_hosts",
    Unset::Value("[]"),
    |item| item.each(host),
    "Values of `Host` that the admin listener answers to, beside its own address and loopback names.",
);
const ADMIN_TOKEN_FILE: PlainKey<Arc<str>> = PlainKey::new(
    "admin_token_file",
    Unset::Nothing(""),
    token,
    "A file with the bearer token that the admin listener asks for. Needed where it is not on loopback.",
);
const WORKERS: PlainKey<usize> =
    PlainKey::new("workers", Unset::Value("0"), workers, "Worker threads; 0 is one per core.").fixed();
const SHUTDOWN_GRACE: PlainKey<Duration> = PlainKey::new(
    "shutdown_grace",
    Unset::Value("\"30s\""),
    |item| item.duration(&(Duration::ZERO..=DAY)),
    "How long a shutdown waits for executions; then they are unknown.",
);
const TRUSTED_PROXIES: PlainKey<Vec<IpNet>> = PlainKey::new(
    "trusted_proxies",
    Unset::Value("[]"),
    |item| item.each(network),
    "Addresses and networks whose `header:` principals and `X-Forwarded-*` are believed.",
);
const PATHS: PlainKey<PathRules> = PlainKey::new(
    "paths",
    Unset::Value("\"strict\""),
    paths,
    "Where a host has a guarded route, a path that can be read in two ways (`//`, `.`, `..`, `\\`, `%2F`, `%00`) is 400. `\"merge\"`: slashes are merged and dot segments removed instead. `\"as-received\"`: each writing is another path, and what goes round a guarded route so is sent unguarded.",
);
const UPGRADES: PlainKey<Vec<String>> = PlainKey::new(
    "upgrades",
    Unset::Value("[]"),
    |item| item.each(upgrade),
    "Protocols beside `websocket` to which an unguarded request may switch its connection with `Upgrade`. What goes through such a connection is not seen.",
);
const ACCESS_LOG: PlainKey<AccessLog> = PlainKey::new(
    "access_log",
    Unset::Value("\"off\""),
    |item| item.choice(&[("off", AccessLog::Off), ("text", AccessLog::Text), ("json", AccessLog::Json)]),
    "`\"text\"` or `\"json\"`: a line a request, with operation id and result.",
);
const LIMITS: TableKey = TableKey::table("limits");
const CONNECTIONS: PlainKey<usize> =
    PlainKey::new("connections", Unset::Value("10000"), connections, "Open client connections.");
const BUFFERS: PlainKey<usize> = PlainKey::new(
    "buffers",
    Unset::Value("\"512MiB\""),
    |item| item.size(&(2 * MIB..=SIZE_MAX)),
    "What all bodies together may hold, one half for requests and one for answers; above it 503 `overloaded`. A peer that is no trusted proxy may hold as much of a half as is left for all others.",
);
const HEADER_BYTES: PlainKey<usize> = PlainKey::new(
    "header_bytes",
    Unset::Value("\"64KiB\""),
    |item| item.size(&(1024..=MIB)),
    "A request's head, which may have 100 fields; above it 431.",
);
const HEADER_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "header_timeout",
    Unset::Value("\"10s\""),
    |item| item.duration(&(Duration::from_millis(100)..=DAY)),
    "For a head to arrive.",
);
const IDLE_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "idle_timeout",
    Unset::Value("\"75s\""),
    |item| item.duration(&(Duration::from_millis(100)..=DAY)),
    "For a connection without a request, and for a tunnel without bytes.",
);
const WRITE_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "write_timeout",
    Unset::Value("\"60s\""),
    |item| item.duration(&(Duration::from_millis(100)..=DAY)),
    "For a client to take more of what is written to it.",
);
const BODY_BYTES: PlainKey<usize> = PlainKey::new(
    "body_bytes",
    Unset::Value("\"10MiB\""),
    |item| item.size(&(1..=SIZE_MAX)),
    "The body of a guarded request; above it 413.",
);
const BODY_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "body_timeout",
    Unset::Value("\"60s\""),
    |item| item.duration(&(Duration::from_millis(100)..=DAY)),
    "For the body of a guarded request to arrive.",
);

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> Server {
    section.later(&["tls", "http2", "proxy_protocol"]);
    let listen = section.get(&LISTEN);
    let admin = admin(&mut section, &listen);
    let server = Server {
        listen,
        admin,
        admin_hosts: section.get(&ADMIN_HOSTS),
        admin_token: section.find(&ADMIN_TOKEN_FILE),
        workers: section.get(&WORKERS),
        shutdown_grace: section.get(&SHUTDOWN_GRACE),
        trusted_proxies: section.get(&TRUSTED_PROXIES),
        upgrades: section.get(&UPGRADES),
        limits: limits(section.section(&LIMITS)),
        paths: section.get(&PATHS),
        access_log: section.get(&ACCESS_LOG),
    };
    section.close();
    server
}

const ADDRESS_HELP: &str =
    "an IP address with a port, like \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\"";

fn listeners(item: &Item<'_>) -> Option<Vec<SocketAddr>> {
    let items = item.clone().list();
    if items.is_empty() {
        item.refuse(format!("at least one address: {ADDRESS_HELP}"));
    }
    let mut addresses = Vec::new();
    for item in items {
        let Some(address) = address(&item) else { continue };
        if address.port() != 0 && addresses.contains(&address) {
            item.fault(format!("{address} is listed twice in `server.listen`"), "remove one of them");
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn address(item: &Item<'_>) -> Option<SocketAddr> {
    let text = item.text(ADDRESS_HELP)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let port =
        text.strip_prefix("localhost:").or(text.strip_prefix(':')).and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(port) => {
            item.refuse(format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every interface"))
        }
        None => item.refuse(ADDRESS_HELP),
    }
    None
}

/// `server.admin`.
#[derive(Clone, Copy)]
enum AdminListener {
    Off,
    At(SocketAddr),
}

/// Reads `server.admin`. A faulty address counts as "off", so that it causes no further faults.
fn admin_listener(item: &Item<'_>) -> Option<AdminListener> {
    if item.text("an address with a port, or \"off\"").is_none_or(|text| text == "off") {
        return Some(AdminListener::Off);
    }
    Some(address(item).map_or(AdminListener::Off, AdminListener::At))
}

fn admin(section: &mut Section<'_>, listen: &[SocketAddr]) -> Option<SocketAddr> {
    let AdminListener::At(address) = section.get(&ADMIN) else { return None };
    let meets = |own: &SocketAddr| {
        let whole = own.ip().is_unspecified() || address.ip().is_unspecified();
        let is_near = own.ip() == address.ip() || (whole && own.is_ipv4() == address.is_ipv4());
        address.port() != 0 && own.port() == address.port() && is_near
    };
    let met = listen.iter().find(|own| meets(own));
    let Some(item) = section.item(&ADMIN) else {
        if let (Some(own), Some(set_by)) = (met, section.set_by(LISTEN.name)) {
            let problem =
                format!("`server.listen` has {own}, and {address} is the admin listener's by default");
            let help = "listen elsewhere, or give `server.admin` a port of its own, or \"off\"";
            section.reading.fault(set_by, "server.listen", problem, help);
        }
        return Some(address);
    };
    if !is_loopback(&address) && section.set_by(ADMIN_TOKEN_FILE.name).is_none() {
        item.fault(
            format!("`server.admin` is {address}, which other machines can reach, and there is no token"),
            "set `server.admin_token_file`, or listen on 127.0.0.1",
        );
    }
    if met.is_some() {
        item.fault(
            format!("`server.admin` is {address}, where `server.listen` listens"),
            "give it a port of its own",
        );
    }
    Some(address)
}

fn token(item: &Item<'_>) -> Option<Arc<str>> {
    let path = item.path("the path of a file that holds the token")?;
    let help = "one line of visible characters, at least 16 and at most 1024 of them";
    let refuse = |words: String| {
        let problem = format!("`{}`: {}: {words}", item.path, path.display());
        item.fault(problem, help);
    };
    let text = String::from_utf8(read_named(&path).map_err(refuse).ok()?).unwrap_or_default();
    let token = text.trim_end_matches(['\r', '\n']);
    if !(16..=1024).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        refuse("what is in it can't be a token".into());
        return None;
    }
    Some(token.into())
}

/// Whether only this machine can reach the address.
pub(super) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn workers(item: &Item<'_>) -> Option<usize> {
    let said = item.whole(&(0..=1024), "a whole number from 0 to 1024; 0 is one worker per core")?;
    Some(match usize::try_from(said) {
        Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
        Ok(workers) => workers,
    })
}

fn connections(item: &Item<'_>) -> Option<usize> {
    item.whole(&(1..=10_000_000), "a whole number from 1").and_then(|n| usize::try_from(n).ok())
}

fn paths(item: &Item<'_>) -> Option<PathRules> {
    let rules = item.choice(&[
        ("strict", PathRules::Strict),
        ("merge", PathRules::Merge),
        ("as-received", PathRules::AsReceived),
    ])?;
    if rules == PathRules::AsReceived {
        item.reading.warn(
            "`server.paths` is \"as-received\": a path in another writing (`//v1/charges`, `/v1/charge%73`) can go round a guarded route, and is another operation under the same key",
        );
    }
    Some(rules)
}

fn host(item: &Item<'_>) -> Option<String> {
    let plain = |text: &str| {
        let text = text.to_lowercase();
        let wrong = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':'));
        let port = !text.starts_with('[') && text.contains(':');
        (!text.is_empty() && !port && !text.contains(wrong)).then_some(text)
    };
    item.parsed("a host name without a port, like \"oncegate.internal\"", plain)
}

fn upgrade(item: &Item<'_>) -> Option<String> {
    let text = item.parsed("a protocol's name as `Upgrade` writes it, like \"acme/2\"", |text| {
        text.split('/').all(is_token).then(|| text.to_owned())
    })?;
    let name = text.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if matches!(&*name, "h2c" | "http" | "tls") {
        item.fault(
            format!("`{}` names {text:?}, in which requests would go by the gateway unseen", item.path),
            "remove it: clients that offer it are answered in HTTP/1.1",
        );
    }
    Some(text)
}

fn network(item: &Item<'_>) -> Option<IpNet> {
    let help = "an address or a network, like \"127.0.0.1\" or \"10.0.0.0/8\"";
    let parse =
        |text: &str| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let network = item.parsed(help, parse)?;
    if network.addr() != network.network() {
        // 10.1.2.3/8 can mean two very different things: one address or a whole network.
        item.refuse(format!(
            "write {} for the network, or {} for the one address",
            network.trunc(),
            network.addr()
        ));
        return None;
    }
    Some(network)
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        connections: section.get(&CONNECTIONS),
        buffers: section.get(&BUFFERS),
        header_bytes: section.get(&HEADER_BYTES),
        header_timeout: section.get(&HEADER_TIMEOUT),
        idle_timeout: section.get(&IDLE_TIMEOUT),
        write_timeout: section.get(&WRITE_TIMEOUT),
        body_bytes: section.get(&BODY_BYTES),
        body_timeout: section.get(&BODY_TIMEOUT),
    };
    if limits.body_bytes > limits.buffers / 2 {
        let (key, set_by) = match section.set_by("body_bytes") {
            Some(set_by) => ("body_bytes", set_by.clone()),
            None => ("buffers", section.set_by("buffers").unwrap_or(&section.set_by).clone()),
        };
        section.reading.fault(
            &set_by,
            &format!("{}.{key}", section.path),
            "`server.limits.body_bytes` is larger than half of `server.limits.buffers`, so the largest bodies could never be read",
            "raise `buffers`, half of which is for the bodies of requests, or lower `body_bytes`",
        );
    }
    section.close();
    limits
}
