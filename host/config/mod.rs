//! Configuration: what the file says (`tree`) and what the program means (here), with one fallible
//! step between them ([`load()`]).
//!
//! Nothing in this room opens a socket, a store or a component. It reads the file, the
//! environment's overrides and the flags of `serve`, and reports every fault at once, each with
//! its line and what would do. `reference.md` lists every key.

mod answers;
mod change;
mod fault;
mod fields;
mod ledger;
mod load;
mod outcomes;
mod overlay;
mod places;
mod policies;
mod principal;
mod probe;
mod reach;
mod reading;
mod routes;
mod section;
mod server;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod upstreams;

pub use answers::{PROBLEM_CODES, problem};
pub use change::unchangeable;
pub(crate) use fault::io_words;
pub use fault::{Fault, Faults, Place};
pub use fields::is_reserved;
pub use load::{Flags, Source, load};
pub use places::SettingPlaces;
pub use reach::{Reach, host_of};
pub(crate) use units::parse_duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use oncegate_core::{Disposition, Times, WhenUnknown, WhileRunning};
pub(crate) use units::nearest;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the program means to do, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from; none where flags said it all.
    pub file: Option<PathBuf>,
    /// Listeners, limits, shutdown.
    pub server: Server,
    /// Where operations are kept.
    pub ledger: LedgerConfig,
    /// By name.
    pub upstreams: BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    /// By name.
    pub policies: BTreeMap<Arc<str>, Arc<Policy>>,
    /// Where the policies' settings were said.
    pub settings: SettingPlaces,
    /// In the order of the file.
    pub routes: Vec<Arc<RouteConfig>>,
    /// What is allowed but worth saying aloud at start and by `check`.
    pub warnings: Vec<String>,
}

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
    /// Bounds.
    pub limits: Limits,
    /// Access log.
    pub access_log: AccessLog,
}

/// `server.access_log`: `"off"`, `"text"` or `"json"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// A line of text a request.
    Text,
    /// A JSON object a request.
    Json,
}

/// `[server.limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open client connections.
    pub connections: usize,
    /// Bytes of all bodies held at one time.
    pub buffers: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// How long a head may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Bytes of a guarded request's body.
    pub body_bytes: usize,
}

/// `[principal]`, or a route's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// `"all"`, or alternatives of which the first whose sources are all present wins.
    pub from: PrincipalFrom,
    /// What nobody present means; `None`: not said, allowed on loopback listeners only.
    pub anonymous: Option<Anonymous>,
}

/// `principal.from`.
#[derive(Clone, Debug, PartialEq)]
pub enum PrincipalFrom {
    /// Every one of authorization and api-key that is present, together (mtls once there is TLS).
    All,
    /// Alternatives, each several sources joined.
    Alternatives(Vec<Vec<PrincipalSource>>),
}

/// Where a principal comes from. Names of headers are lower-case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalSource {
    /// `authorization`.
    Authorization,
    /// `api-key`: `X-API-Key`.
    ApiKey,
    /// `header:NAME`, from trusted proxies only.
    Header(String),
    /// `query:NAME`.
    Query(String),
    /// `cookie:NAME`.
    Cookie(String),
}

/// `principal.anonymous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// All callers without a principal are one.
    Share,
    /// They are turned away.
    Refuse,
}

/// `[ledger]`, but for the times, which routes carry.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerConfig {
    /// Which store.
    pub store: StoreKind,
    /// The deployment's name, part of every key.
    pub deployment: Arc<str>,
    /// Whether an answer's end waits for the disk.
    pub durability: Durability,
    /// Bytes of the in-memory cache; of everything where the store is memory.
    pub memory: usize,
    /// The secret from `secret_file`, 32 bytes.
    pub secret: Option<[u8; 32]>,
}

/// `ledger.store`, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Lost with the process.
    Memory,
    /// In this folder.
    Embedded(PathBuf),
}

/// `ledger.durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An answer's end waits until its record survives power loss.
    Sync,
    /// It does not: what was answered in the last moments can be lost with the machine.
    Async,
}

/// `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Host name or address, as in the URL.
    pub host: String,
    /// Port.
    pub port: u16,
    /// To an open connection.
    pub connect_timeout: Duration,
    /// To the head of the answer.
    pub response_timeout: Duration,
    /// Between two pieces of a body.
    pub body_idle_timeout: Duration,
    /// It honours the forwarded key itself.
    pub dedupes: bool,
    /// Repeating is allowed though nobody deduplicates.
    pub accept_repeats: bool,
    /// The field by which it is told the operation id, in place of any other of that name.
    pub operation_header: Option<HeaderName>,
    /// No execution takes effect later than this after its end; none: nobody says so.
    pub settle_after: Option<Duration>,
    /// How it is asked about unknown outcomes.
    pub probe: ProbeConfig,
}

/// `[upstreams.NAME.probe]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// Tries for each unknown outcome, each of several questions perhaps.
    pub attempts: u32,
    /// The first pause between two tries; each further one is twice as long, cut at random.
    pub base: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// Fields of every question, credentials as a rule. Their values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Where they were read from.
    pub headers_file: Option<PathBuf>,
    /// Methods that a question may have beside GET and HEAD.
    pub methods: Vec<String>,
}

/// `[policies.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The component.
    pub component: ComponentSource,
    /// Its pinned digest.
    pub sha256: Option<[u8; 32]>,
    /// What `configure` gets.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Raised by the operator to say that keys change.
    pub key_epoch: u64,
    /// Whether instances are used again.
    pub instances: Instances,
    /// How long after its activation a generation that fails is rolled back by itself; zero: never.
    pub trial: Duration,
    /// Of one call, on a policy thread.
    pub time: Duration,
    /// Of one instance, in bytes.
    pub memory: usize,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// `builtin:NAME`, without the prefix.
    Builtin(String),
    /// A file, absolute or relative to the process (the configuration's folder put in front).
    File(PathBuf),
}

/// `policies.NAME.instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// Pooled per worker.
    Reuse,
    /// A new one for each call.
    Fresh,
}

/// `[[routes]]`, with everything that it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Host name in lower case without port; none: any.
    pub host: Option<String>,
    /// Path prefix on segment borders, without a slash at the end; `/` itself is "".
    pub path: String,
    /// Methods; empty: all.
    pub methods: Vec<String>,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The policy's name; none: plain proxying.
    pub policy: Option<Arc<str>>,
    /// For a running execution.
    pub while_running: WhileRunning,
    /// For an unknown outcome.
    pub when_unknown: WhenUnknown,
    /// Ledger down or policy failing to load.
    pub on_error: OnError,
    /// The operator's word on answers, tried in order before everything else.
    pub outcomes: Vec<StatusRule>,
    /// Other statuses for the gateway's own answers, by problem code.
    pub answers: BTreeMap<String, u16>,
    /// How long things stand.
    pub times: Times,
    /// How long a duplicate waits.
    pub wait: Duration,
    /// Larger answers are consumed.
    pub body_kept: usize,
    /// Fields of answers that are not kept, lower-case.
    pub strip: Vec<String>,
    /// In place of the upstream's.
    pub response_timeout: Option<Duration>,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// What happens to an execution whose clients are all gone.
    pub client_gone: ClientGone,
    /// What the same under another principal means.
    pub principal_changed: PrincipalChanged,
}

/// `routes.on_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 503.
    Refuse,
    /// Send it unguarded.
    Bypass,
}

/// `routes.principal_changed`: the same key and content under another principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalChanged {
    /// Each principal's operation is its own; that it happened is counted and told.
    Count,
    /// The second principal is refused.
    Refuse,
}

/// `routes.client_gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientGone {
    /// The execution goes on.
    Finish,
    /// The upstream's connection is closed when the last client is gone.
    Close,
}

/// What a range of statuses means: a route's `outcomes`, a plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRule {
    /// First status.
    pub lowest: u16,
    /// Last status.
    pub highest: u16,
    /// What they mean.
    pub means: Disposition,
}
