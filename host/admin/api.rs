//! The documents of the admin interface (`design/admin.md`): the gateway writes what the commands read, and
//! the other way round.
//!
//! They name no other room, but for what the look-up of an operation shows.

use crate::gateway::answer::OperationDescription;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Since it started.
    pub uptime_seconds: u64,
    /// Whether it takes requests.
    pub ready: bool,
    /// Why it doesn't.
    pub unready_reason: Option<String>,
    /// The configuration's file, where it has one.
    pub configuration: Option<String>,
    /// What the configuration allows but is worth saying aloud.
    pub warnings: Vec<String>,
    /// Why the last reload was refused, if it was.
    pub last_reload_error: Option<String>,
    /// Open client connections.
    pub connections: u64,
    /// Bytes of bodies held at this time.
    pub buffers_bytes: u64,
    /// The ledger.
    pub ledger: LedgerStatus,
    /// The routes, in their order.
    pub routes: Vec<RouteStatus>,
    /// The key spaces, by policy.
    pub key_spaces: BTreeMap<String, Vec<KeySpaceStatus>>,
}

/// The ledger, in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// `memory` or `embedded`.
    pub store: String,
    /// The data folder, where there is one.
    pub path: Option<String>,
    /// `sync` or `async`.
    pub durability: String,
    /// Whose keys it holds.
    pub deployment: String,
    /// Its time.
    pub time: String,
    /// How far the wall clock is ahead of it.
    pub wall_clock_ahead_seconds: i64,
    /// Records in the store, roughly.
    pub records: u64,
    /// Their bytes, in memory or on disk.
    pub bytes: u64,
    /// Executions under way in this gateway.
    pub executing: u64,
    /// Final records at hand.
    pub cached: u64,
    /// Outcomes that the store has not taken yet.
    pub settlements_overdue: u64,
}

/// A route, in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Its host, where it has one.
    pub host: Option<String>,
    /// The beginning of its paths.
    pub path: String,
    /// Its methods; empty: all.
    pub methods: Vec<String>,
    /// Its upstream.
    pub upstream: String,
    /// Its policy, where it is guarded.
    pub policy: Option<String>,
}

/// A key space by which a policy's keys are derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpaceStatus {
    /// Its number on the policy's list.
    pub number: u32,
    /// The deriver's key schema.
    pub key_schema: String,
    /// The deriver's key epoch.
    pub key_epoch: u64,
    /// The digest of the component that derives its keys.
    pub component_sha256: String,
    /// The digest of that component's settings.
    pub settings_sha256: String,
    /// Whether this gateway decides by it.
    pub decides: bool,
    /// What holds it open.
    pub held_open_by: Vec<HeldOpen>,
}

/// What holds a key space open, and what ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOpen {
    /// What holds it.
    pub by: String,
    /// What ends that.
    pub ends: String,
}

/// `GET /v1/policies`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyList {
    /// The active generation of each, by name.
    pub policies: Vec<PolicyStatus>,
    /// Why the last reload was refused, if it was.
    pub last_reload_error: Option<String>,
}

/// The active generation of a policy, in [`PolicyList`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The policy's name.
    pub name: String,
    /// Counts all generations of the process.
    pub generation: u64,
    /// Where the component comes from.
    pub component: String,
    /// Its digest.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// What its plan names its way of making keys.
    pub key_schema: String,
    /// The operator's number in the key space.
    pub key_epoch: u64,
    /// The optional interfaces that it exports.
    pub exports: Vec<String>,
    /// The settings that it was configured with.
    pub settings: Map<String, Value>,
    /// `reuse` or `fresh`.
    pub instances: String,
    /// Whether its calls go to the policy threads.
    pub slow: bool,
    /// How many test vectors it carries.
    pub vectors: u64,
    /// When it was loaded.
    pub loaded_at: String,
    /// How long that took.
    pub load_ms: u64,
    /// The steps of its load.
    pub steps: Vec<LoadStep>,
    /// Why the last reload was refused, if it was because of this policy.
    pub error: Option<String>,
    /// The last load since the start.
    pub last_load: Option<LastLoad>,
    /// The generation that a rollback would bring back.
    pub rollback_to: Option<u64>,
    /// The key spaces by which its keys are derived.
    pub key_spaces: Vec<KeySpaceStatus>,
    /// Components under settings that broke the promise of their key schema.
    pub refused_makers: Vec<RefusedDeriver>,
    /// Why its routes refuse what they would guard, if they do.
    pub refuses_because: Option<String>,
}

/// A step of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStep {
    /// Its name, such as `compile`.
    pub step: String,
    /// Whether it was passed.
    pub ok: bool,
    /// How long it took.
    pub micros: u64,
    /// What is worth knowing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The last load of a policy that did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLoad {
    /// When it ended, by the wall clock.
    pub at: String,
    /// What began it: `reload`, `rollback`, `automatic rollback`.
    pub occasion: String,
    /// The steps that were taken; where it failed the last is the one that did.
    pub steps: Vec<LoadStep>,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A component under settings that broke the promise of its key schema, and is kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDeriver {
    /// The key schema that it claims.
    pub key_schema: String,
    /// Its key epoch.
    pub key_epoch: u64,
    /// The component's digest.
    pub component_sha256: String,
    /// The settings' digest.
    pub settings_sha256: String,
    /// What was seen.
    pub why: String,
}

/// `GET /v1/upstreams`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamList {
    /// Each, by name.
    pub upstreams: Vec<UpstreamStatus>,
}

/// An upstream, in [`UpstreamList`]. The numbers count requests that were sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// Whether it knows duplicates by itself.
    pub dedupes: bool,
    /// Executions under way.
    pub executions: usize,
    /// Requests that wait for the answer of another's execution.
    pub waiters: usize,
    /// A head came back.
    pub answered: u64,
    /// Nothing was sent.
    pub unreachable: u64,
    /// Cut off after sending.
    pub broken: u64,
    /// No head in time.
    pub timed_out: u64,
}

/// The body of `POST /v1/reload` and `POST /v1/policies/NAME/reload`. None is as the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Records that would lose their keys are given up, this once.
    #[serde(default)]
    pub accept_duplicates: bool,
}

/// What a reload or rollback did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// All policies, and whether they are new.
    pub policies: Vec<ReloadedPolicy>,
    /// What the configuration allows but is worth saying aloud.
    pub warnings: Vec<String>,
}

/// A policy, in [`ReloadReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedPolicy {
    /// Its name.
    pub name: String,
    /// Its active generation.
    pub generation: u64,
    /// The digest of its component.
    #[serde(default)]
    pub sha256: String,
    /// Whether this reload brought it.
    pub changed: bool,
    /// The steps that brought it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<LoadStep>,
}

/// `GET /v1/operations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationPage {
    /// What the filter takes, of the records that this call read.
    pub operations: Vec<OperationDocument>,
    /// Behind this one the next call goes on; none: that was all.
    pub next: Option<String>,
    /// How many records this call read.
    pub scanned: u64,
}

/// An operation: all that is known of it, but for keys, bodies and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationDocument {
    /// Its id.
    pub operation: String,
    /// Its state, such as `unknown`.
    pub state: String,
    /// What is recorded of it; none: it is not there any more.
    #[serde(flatten)]
    pub recorded: Option<OperationRecord>,
    /// Settlements that came too late and changed nothing; where one operation is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<LateSettlementReport>>,
    /// Fields of an answer that was handed in which are never recorded; of a resolution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What is recorded of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// What the look-up shows of it, too.
    #[serde(flatten)]
    pub description: OperationDescription,
    /// Raised by each change of the record: a decimal number. A change by hand names it.
    pub version: String,
    /// The route that it came in by.
    pub route: String,
    /// The policy that decided it.
    pub policy: String,
    /// By which key schema.
    pub key_schema: String,
    /// And which key epoch.
    pub key_epoch: u64,
    /// The request's method.
    pub method: String,
    /// The request's authority.
    pub authority: String,
    /// The request's path.
    pub path: String,
    /// A hash of who asked.
    pub principal: String,
    /// When the client first sent it, by its own word.
    pub first_sent: Option<String>,
    /// The latest execution.
    pub execution: String,
    /// Whether it was sent again though nobody knew the outcome.
    pub resent: bool,
    /// The policy's own note.
    pub memo: Option<String>,
    /// How its upstream is asked about it, while the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probing: Option<ProbingStatus>,
}

/// How an upstream is asked about an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbingStatus {
    /// Tries that found nothing out.
    pub tries: u32,
    /// When the next one is due; none: nobody asks any more.
    pub next: Option<String>,
}

/// A settlement that came too late and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateSettlementReport {
    /// When it came.
    pub at: String,
    /// The execution that it was of.
    pub execution: String,
    /// How that execution ended.
    pub outcome: String,
    /// The status of its answer, where there was one.
    pub status: Option<u16>,
    /// Why it changed nothing.
    pub reason: String,
}

/// The body of `POST /v1/operations/ID/resolve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// `not-applied`, `consumed` or `completed`.
    pub outcome: String,
    /// The version that was shown.
    pub version: String,
    /// Why; the gateway logs it.
    pub reason: String,
    /// The answer that duplicates get; of `consumed` only its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<GivenReply>,
}

/// An answer that an operator hands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenReply {
    /// Its status.
    pub status: u16,
    /// Its fields, each a name and a value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Its body in base64 (RFC 4648 §4).
    #[serde(default)]
    pub body_base64: String,
}

/// A refusal (RFC 9457), as far as a command reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AdminProblem {
    /// The status in words.
    pub title: Option<String>,
    /// What is wrong, and what would do.
    pub detail: Option<String>,
    /// Of a refused reload: the steps of the load that it ended, the last one failed.
    #[serde(default)]
    pub steps: Vec<LoadStep>,
}
