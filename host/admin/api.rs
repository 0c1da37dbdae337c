//! The documents of the admin interface (`design/admin.md`): the gateway writes the documents that the
//! commands read, and the other way round.
//!
//! This file names no other room, except for the description that the look-up of an operation shows.

use crate::gateway::answer::OperationDescription;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The field by which a command knows an admin listener. Requests meant for a gateway don't go to a service:
/// of a service's answers a gateway removes the fields of this kind.
pub const ADMIN_FIELD: &str = "oncegate-admin";

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Seconds since the gateway started.
    pub uptime_seconds: u64,
    /// True if the gateway takes requests.
    pub ready: bool,
    /// Why the gateway takes no requests.
    pub unready_reason: Option<String>,
    /// The configuration's file, where it has one.
    pub configuration: Option<String>,
    /// Warnings about settings that the configuration allows.
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
    /// `sync` or `async`; `none` where the store is memory.
    pub durability: String,
    /// The deployment whose keys the ledger holds.
    pub deployment: String,
    /// The ledger's time.
    pub time: String,
    /// Seconds by which the wall clock is ahead of the ledger's time.
    pub wall_clock_ahead_seconds: i64,
    /// Records in the store, roughly.
    pub records: u64,
    /// The records' bytes, in memory or on disk.
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
    /// The route's name.
    pub name: String,
    /// The route's host, if it has one.
    pub host: Option<String>,
    /// The beginning of its paths.
    pub path: String,
    /// The route's methods; empty: all.
    pub methods: Vec<String>,
    /// The route's upstream.
    pub upstream: String,
    /// The route's policy, if the route is guarded.
    pub policy: Option<String>,
}

/// A key space by which a policy's keys are derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpaceStatus {
    /// The key space's number on the policy's list.
    pub number: u32,
    /// The deriver's key schema.
    pub key_schema: String,
    /// The deriver's key epoch.
    pub key_epoch: u64,
    /// The digest of the component that derives its keys.
    pub component_sha256: String,
    /// The digest of that component's settings.
    pub settings_sha256: String,
    /// True if this gateway decides by this key space.
    pub decides: bool,
    /// The blockers of this key space.
    pub held_open_by: Vec<HeldOpen>,
}

/// A blocker of a key space, and the event that ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOpen {
    /// The blocker, in words.
    pub by: String,
    /// The event that ends it, in words.
    pub ends: String,
}

/// `GET /v1/policies`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyList {
    /// The active generation of each, by name.
    pub policies: Vec<PolicyStatus>,
    /// Why the last reload was refused, if it was.
    pub last_reload_error: Option<String>,
    /// The step that refused it, such as `identity`.
    #[serde(default)]
    pub last_reload_step: Option<String>,
}

/// The active generation of a policy, in [`PolicyList`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The policy's name.
    pub name: String,
    /// The generation's number, by a count of all generations of the process.
    pub generation: u64,
    /// The source of the component.
    pub component: String,
    /// The component's digest.
    pub sha256: String,
    /// The component's size in bytes.
    pub size: u64,
    /// The plan's name for its way of making keys.
    pub key_schema: String,
    /// The operator's number in the key space.
    pub key_epoch: u64,
    /// The optional interfaces that it exports.
    pub exports: Vec<String>,
    /// The settings that it was configured with.
    pub settings: Map<String, Value>,
    /// `reuse` or `fresh`.
    pub instances: String,
    /// True if the policy's calls go to the policy threads.
    pub slow: bool,
    /// The number of test vectors that the component carries.
    pub vectors: u64,
    /// When the generation was loaded.
    pub loaded_at: String,
    /// The time that the load took.
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
    /// Why the policy's routes refuse requests that they would guard, if they do.
    pub refuses_because: Option<String>,
}

/// A step of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStep {
    /// The step's name, such as `compile`.
    pub step: String,
    /// True if the step was passed.
    pub ok: bool,
    /// The time that the step took.
    pub micros: u64,
    /// A note about the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The last load of a policy that did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLoad {
    /// When it ended, by the wall clock.
    pub at: String,
    /// The cause of the load: `reload by SIGHUP`, `reload by a changed file`, `reload by the admin interface`,
    /// `rollback`, `automatic rollback`.
    pub occasion: String,
    /// The steps that were taken; the last one is the one that failed, if the load failed.
    pub steps: Vec<LoadStep>,
    /// Why the load failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A component under settings that broke the promise of its key schema, and is kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDeriver {
    /// The key schema that it claims.
    pub key_schema: String,
    /// The key epoch that the component claims.
    pub key_epoch: u64,
    /// The component's digest.
    pub component_sha256: String,
    /// The settings' digest.
    pub settings_sha256: String,
    /// The finding that broke the promise.
    pub why: String,
}

/// `GET /v1/upstreams`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamList {
    /// The upstreams, by name.
    pub upstreams: Vec<UpstreamStatus>,
}

/// An upstream, in [`UpstreamList`]. The numbers count requests that were sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The upstream's name.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// True if the upstream knows duplicates by itself.
    pub dedupes: bool,
    /// Executions under way.
    pub executions: usize,
    /// Requests that wait for the answer of another's execution.
    pub waiters: usize,
    /// Requests whose head came back.
    pub answered: u64,
    /// Requests of which nothing was sent.
    pub unreachable: u64,
    /// Requests that were cut off after sending.
    pub broken: u64,
    /// Requests without a head in time.
    pub timed_out: u64,
    /// Requests that their client broke off.
    pub aborted: u64,
}

/// The body of `POST /v1/reload` and `POST /v1/policies/NAME/reload`. No body means the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// True if records that would lose their keys are given up, this once.
    #[serde(default)]
    pub accept_duplicates: bool,
}

/// The result of a reload or rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The report of each policy.
    pub policies: Vec<ReloadedPolicy>,
    /// Warnings about settings that the configuration allows.
    pub warnings: Vec<String>,
}

/// A policy, in [`ReloadReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedPolicy {
    /// The policy's name.
    pub name: String,
    /// The policy's active generation.
    pub generation: u64,
    /// The digest of its component.
    #[serde(default)]
    pub sha256: String,
    /// True if this reload brought the generation.
    pub changed: bool,
    /// The key space by which it decides; none: it has none for now.
    #[serde(default)]
    pub key_space: Option<u32>,
    /// What of the policy is not as it was, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The steps that brought it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<LoadStep>,
}

/// `GET /v1/operations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationPage {
    /// The operations that the filter takes, of the records that this call read.
    pub operations: Vec<OperationDocument>,
    /// The operations whose records can't be read, whatever the filter.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// The operation behind which the next call goes on; none: the list is complete.
    pub next: Option<String>,
    /// The number of records that this call read.
    pub scanned: u64,
}

/// An operation with everything that is known of it, except keys, bodies and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationDocument {
    /// The operation's id.
    pub operation: String,
    /// The operation's state, such as `unknown`.
    pub state: String,
    /// The operation's record; none: there is no record any more.
    #[serde(flatten)]
    pub recorded: Option<OperationRecord>,
    /// Settlements that came too late and changed nothing. Present if one operation is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<LateSettlementReport>>,
    /// The names of fields that were handed in with an answer and are never recorded. Present after a
    /// resolution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The record of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// The description, which the look-up shows, too.
    #[serde(flatten)]
    pub description: OperationDescription,
    /// Raised by each change of the record: a decimal number. A change by hand names it.
    pub version: String,
    /// The route that it came in by.
    pub route: String,
    /// The policy that decided it.
    pub policy: String,
    /// The key schema that it was decided by.
    pub key_schema: String,
    /// The key epoch that it was decided by.
    pub key_epoch: u64,
    /// The request's method.
    pub method: String,
    /// The request's authority.
    pub authority: String,
    /// The request's path.
    pub path: String,
    /// A hash of the principal.
    pub principal: String,
    /// When the client first sent the request, by the client's own account.
    pub first_sent: Option<String>,
    /// The latest execution.
    pub execution: String,
    /// True if the request was sent again though nobody knew the outcome.
    pub resent: bool,
    /// The policy's own note.
    pub memo: Option<String>,
    /// When an operator told how it ended; none: nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// The operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_because: Option<String>,
    /// The state of the questions to its upstream, while the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probing: Option<ProbingStatus>,
}

/// The state of the questions to an upstream about an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbingStatus {
    /// Tries that found nothing out.
    pub tries: u32,
    /// When the next try is due; none: nobody asks any more.
    pub next: Option<String>,
}

/// A settlement that came too late and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateSettlementReport {
    /// When the settlement came.
    pub at: String,
    /// The execution that it settles.
    pub execution: String,
    /// How that execution ended.
    pub outcome: String,
    /// The status of its answer, where there was one.
    pub status: Option<u16>,
    /// Why the settlement changed nothing.
    pub reason: String,
}

/// The body of `POST /v1/operations/ID/resolve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// `not-applied`, `consumed` or `completed`.
    pub outcome: String,
    /// The version that was shown.
    pub version: String,
    /// The operator's reason; the gateway logs it.
    pub reason: String,
    /// The answer that duplicates get; for `consumed` only its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<GivenReply>,
}

/// An answer that an operator hands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenReply {
    /// The answer's status.
    pub status: u16,
    /// The answer's fields, each a name and a value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The answer's body in base64 (RFC 4648 §4).
    #[serde(default)]
    pub body_base64: String,
}

/// A refusal (RFC 9457), as far as a command reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AdminProblem {
    /// The status in words.
    pub title: Option<String>,
    /// The fault, and what would be accepted.
    pub detail: Option<String>,
    /// The steps of the load that ended a refused reload; the last one failed.
    #[serde(default)]
    pub steps: Vec<LoadStep>,
    /// The step that refused a reload, such as `identity`.
    #[serde(default)]
    pub step: Option<String>,
}
