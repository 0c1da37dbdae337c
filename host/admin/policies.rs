//! `GET /v1/policies` with each policy's key spaces, and the calls that replace generations: reload and
//! rollback.

use super::api::{
    HeldOpen, KeySpaceStatus, LastLoad, LoadStep, PolicyList, PolicyStatus, RefusedDeriver, ReloadReport,
    ReloadRequest, ReloadedPolicy,
};
use super::body;
use super::context::Admin;
use super::reply::{AdminReply, json, problem, problem_with, status_of};
use crate::activation::{ActivationError, ActivationReport, Attempt, Occasion, PolicyReport, Reloader};
use crate::gateway::Shared;
use crate::policy::{self, Generation};
use http::Request;
use hyper::body::Incoming;
use oncegate_core::keyspaces::list::{self, Blocker, DeriverRefusal};
use oncegate_core::problem::Code;
use oncegate_core::{GatewayId, LostRecords};
use serde_json::{Map, json as value};
use std::time::Duration;

/// The limit of a reload's body, which has one member.
const REQUEST_BYTES_MAX: usize = 4 << 10;

pub(super) fn policies(admin: &Admin) -> PolicyList {
    let active = admin.shared.active.load();
    PolicyList {
        policies: active.generations.values().map(|generation| policy(admin, generation)).collect(),
        last_reload_error: admin.reloader.last_error(),
        last_reload_step: admin.reloader.last_step().map(str::to_owned),
    }
}

fn policy(admin: &Admin, generation: &Generation) -> PolicyStatus {
    let (shared, reloader, name) = (&admin.shared, &admin.reloader, generation.name());
    let policy::GenerationSummary {
        name: _,
        generation: number,
        component,
        sha256,
        size,
        key_schema,
        key_epoch,
        exports,
        settings,
        instances,
        slow,
        vectors,
        loaded_at,
        load_ms,
        steps,
    } = generation.describe();
    let active = shared.active.load();
    let unavailable = active.spaces.unavailable.get(name);
    PolicyStatus {
        name: name.to_string(),
        generation: number,
        component,
        sha256,
        size: size as u64,
        key_schema,
        key_epoch,
        exports: exports.into_iter().map(str::to_owned).collect(),
        settings,
        instances: instances.to_owned(),
        slow,
        vectors: vectors as u64,
        loaded_at,
        load_ms,
        steps: steps.iter().map(step).collect(),
        error: reloader.policy_error(name),
        last_load: reloader.last_attempt(name).as_ref().map(last_load),
        rollback_to: reloader.before(name).map(|before| before.number()),
        key_spaces: key_spaces(shared, name),
        refused_makers: refused_derivers(shared, name),
        refuses_because: unavailable.map(|unavailable| unavailable.why.to_string()),
    }
}

fn step(step: &policy::Step) -> LoadStep {
    LoadStep { step: step.step.to_owned(), ok: step.ok, micros: step.micros, note: step.note.clone() }
}

fn last_load(attempt: &Attempt) -> LastLoad {
    LastLoad {
        at: attempt.at.clone(),
        occasion: attempt.occasion.to_owned(),
        steps: attempt.steps.iter().map(step).collect(),
        error: attempt.error.clone(),
    }
}

/// The key spaces by which a policy's keys are derived, each with its blockers and the events that end them.
pub(super) fn key_spaces(shared: &Shared, policy: &str) -> Vec<KeySpaceStatus> {
    let registry = shared.ledger.key_spaces();
    let active = shared.active.load();
    let deciding = active.spaces.open.get(policy).map(|spaces| spaces.guard.number);
    let spaces = registry.lists();
    let own = registry.gateway();
    let one = |space: &list::Space| KeySpaceStatus {
        number: space.number.0,
        key_schema: space.deriver.key_schema.to_string(),
        key_epoch: space.deriver.key_epoch,
        component_sha256: space.deriver.component.to_string(),
        settings_sha256: space.deriver.settings.to_string(),
        decides: Some(space.number) == deciding,
        held_open_by: registry
            .blockers(policy, space.number)
            .iter()
            .map(|blocker| held_open(blocker, &own))
            .collect(),
    };
    spaces.list(policy).map_or(&[][..], |list| &list.spaces).iter().map(one).collect()
}

/// Words for a blocker of a key space, and for the event that ends it.
fn held_open(blocker: &Blocker, own: &GatewayId) -> HeldOpen {
    let whose =
        |gateway| if gateway == own { "this gateway".to_owned() } else { format!("gateway {gateway}") };
    let (by, ends) = match blocker {
        Blocker::Only => ("it is the only one".to_owned(), "when another one becomes active"),
        Blocker::Decides(gateway) => (
            format!("{}, or a request in flight in it, decides by it", whose(gateway)),
            "reload that gateway with another key space, and wait for its requests; or stop it",
        ),
        Blocker::Behind(gateway) => (
            format!("{} does not derive keys in all the others yet", whose(gateway)),
            "it does so by itself; or stop it",
        ),
        Blocker::Records(since) => (
            format!("records claimed until {since} may be left"),
            "wait until they are forgotten (retention and tombstone); resolve unknown ones with `oncegate ops \
             resolve`, or forget finished ones with `oncegate ops forget`",
        ),
    };
    HeldOpen { by, ends: ends.to_owned() }
}

/// Components under settings that were seen to break the promise of their key-schema, and are kept out.
fn refused_derivers(shared: &Shared, policy: &str) -> Vec<RefusedDeriver> {
    let spaces = shared.ledger.key_spaces().lists();
    let one = |refused: &DeriverRefusal| RefusedDeriver {
        key_schema: refused.deriver.key_schema.to_string(),
        key_epoch: refused.deriver.key_epoch,
        component_sha256: refused.deriver.component.to_string(),
        settings_sha256: refused.deriver.settings.to_string(),
        why: refused.why.to_string(),
    };
    spaces.list(policy).map_or(&[][..], |list| &list.refused).iter().map(one).collect()
}

/// `POST /v1/reload`, and for one policy `POST /v1/policies/NAME/reload`.
pub(super) async fn reload(reloader: &Reloader, policy: Option<&str>, lost: LostRecords) -> AdminReply {
    replaced(match policy {
        None => reloader.reload(lost, Occasion::ADMIN).await,
        Some(name) => reloader.reload_policy(name, lost).await,
    })
}

/// `POST /v1/policies/NAME/rollback`
pub(super) async fn roll_back(reloader: &Reloader, policy: &str) -> AdminReply {
    replaced(reloader.roll_back(policy).await)
}

/// Reads the body of a reload. Without a body, no record may be given up.
pub(super) async fn read_request(
    request: Request<Incoming>,
    time: Duration,
) -> Result<LostRecords, AdminReply> {
    let body = body::read(request.into_body(), REQUEST_BYTES_MAX, time).await.map_err(|_| {
        let words =
            "The body broke off, took too long to arrive, or has more than 4 KiB. Nothing was changed.";
        problem(Code::BadRequest, words)
    })?;
    if body.is_empty() {
        return Ok(LostRecords::Refuse);
    }
    let request: ReloadRequest = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("A reload has no body, or `{{\"accept_duplicates\": true}}`: {error}.");
        problem(Code::BadRequest, &detail)
    })?;
    Ok(LostRecords::giving_up(request.accept_duplicates))
}

fn replaced(outcome: Result<ActivationReport, ActivationError>) -> AdminReply {
    let error = match outcome {
        Ok(report) => return json(&reload_report(&report)),
        Err(error) => error,
    };
    let code = match &error {
        ActivationError::NoSuchPolicy(..) => Code::NotFound,
        ActivationError::NothingBefore(_) => Code::NothingBefore,
        ActivationError::Broken(_) => Code::ReloadFailed,
        ActivationError::Config(_)
        | ActivationError::Open(_)
        | ActivationError::Anothers { .. }
        | ActivationError::Unreadable(_)
        | ActivationError::Unchangeable(_)
        | ActivationError::Policy(_)
        | ActivationError::Promise(_)
        | ActivationError::Identity(_)
        | ActivationError::KeySpaces(_) => Code::ReloadRefused,
    };
    let mut more = Map::new();
    let steps: Vec<LoadStep> =
        error.failed_load().map_or(&[][..], |(_, steps)| steps).iter().map(step).collect();
    if !steps.is_empty() {
        more.insert("steps".to_owned(), value!(steps));
    }
    if let Some(step) = error.step() {
        more.insert("step".to_owned(), step.into());
    }
    problem_with(status_of(code), code, &error.to_string(), more)
}

fn reload_report(report: &ActivationReport) -> ReloadReport {
    let policy = |policy: &PolicyReport| ReloadedPolicy {
        name: policy.name.clone(),
        generation: policy.generation,
        sha256: policy.sha256.clone(),
        changed: policy.changed,
        key_space: policy.key_space,
        changes: policy.changes.clone(),
        steps: policy.steps.iter().map(step).collect(),
    };
    ReloadReport { policies: report.policies.iter().map(policy).collect(), warnings: report.warnings.clone() }
}
