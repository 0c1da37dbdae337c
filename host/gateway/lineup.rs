//! An operation by its keys in all key spaces: what older generations make of it, and whose verdict counts
//! (DESIGN §6, "Changing the keys").

use crate::config::PrincipalChanged;
use crate::gateway::Question;
use crate::gateway::answer::present::Presenter;
use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::request::identify::{self, Facts, KeyScope};
use crate::gateway::request::route::Route;
use crate::gateway::worker::Worker;
use crate::keyspaces::OlderGeneration;
use crate::ledger::{self, Derived, SpacePin};
use crate::policy::{Generation, Guard, Verdict};
use crate::store::StoreError;
use bytes::Bytes;
use oncegate_core::{Key, OperationId, PrincipalId, Record};
use std::sync::Arc;

/// What an older generation would guard an operation by.
#[derive(Debug)]
pub struct Reading {
    older: OlderGeneration,
    guard: Box<Guard>,
}

/// Whose verdict an operation is executed under.
#[derive(Debug)]
pub enum Decided {
    /// By this generation: guard it. An older one keeps its space on the list meanwhile.
    Guarded(Arc<Generation>, Box<Guard>, Option<SpacePin>),
    /// Not protected, for this reason.
    Bypassed(String),
    /// Turned away.
    Refused(crate::policy::Refusal),
}

/// What the older generations that judge this method make of the operation. One that bypasses, refuses, errs or
/// traps adds no key: by its own word it never guarded that. One of which nobody can say what it would
/// have said refuses the request.
pub(super) async fn read(asked: &Question<'_>) -> Result<Vec<Reading>, Problem> {
    let Question { worker, route, facts, .. } = *asked;
    let mut readings = Vec::new();
    for older in route.older().iter().filter(|older| route.judges(&older.generation, &facts.head.method)) {
        match crate::gateway::decide(asked, &older.generation).await {
            Ok((Verdict::Guard(guard), _)) => readings.push(Reading { older: older.clone(), guard }),
            Ok((Verdict::Bypass(_) | Verdict::Refuse(_), _)) => {}
            Err(crate::gateway::Undecided::Policy(failure)) if failure.is_its_own() => {}
            Err(undecided) => {
                return Err(undecided.into_problem(worker, &older.generation, &facts.principal));
            }
        }
    }
    Ok(readings)
}

/// Whose verdict counts. What the active generation bypasses or refuses stays guarded by an older one as
/// [`Ledger::stays_guarded`](ledger::Ledger::stays_guarded) says. `body`: the whole one, where there are
/// readings.
pub async fn weigh(
    verdict: Verdict,
    (route, generation): (&Route, Arc<Generation>),
    readings: &[Reading],
    facts: &Facts<'_>,
    body: &Bytes,
    scope: &KeyScope<'_>,
) -> Result<Decided, StoreError> {
    let otherwise = match verdict {
        Verdict::Guard(guard) => return Ok(Decided::Guarded(generation, guard, None)),
        Verdict::Bypass(reason) => Decided::Bypassed(reason),
        Verdict::Refuse(refusal) => Decided::Refused(refusal),
    };
    for Reading { older, guard } in readings.iter().rev() {
        let (id, _) = identify::key(facts, &older.generation, guard, body, scope);
        let place = (older.number, route.list_version());
        if let Some(pin) = scope.ledger.stays_guarded(older.generation.name(), place, id).await? {
            return Ok(Decided::Guarded(older.generation.clone(), guard.clone(), Some(pin)));
        }
    }
    Ok(otherwise)
}

/// The request to the ledger, with its keys in all spaces.
pub fn request(
    facts: &Facts<'_>,
    route: &Route,
    (generation, guard): (&Generation, &Guard),
    readings: &[Reading],
    body: &Bytes,
    scope: &KeyScope<'_>,
) -> ledger::Request {
    let mut request = identify::request(facts, route, generation, guard, body, scope);
    request.derived =
        Derived { space: route.number_of(generation), term: route.term(), ..Derived::default() };
    let refuses = route.config.principal_changed == PrincipalChanged::Refuse;
    if readings.is_empty() && !refuses {
        return request;
    }
    let mut common = Vec::new();
    let mut share = |key: &Key, generation: &Generation, guard: &Guard| {
        if refuses {
            let id = identify::common_id(facts, generation, guard, &key.fingerprint, body, scope);
            common.push(Key { id, ..key.clone() });
        }
    };
    let mut keys = vec![request.only_key()];
    share(&keys[0], generation, guard);
    for Reading { older, guard } in readings {
        if keys.iter().any(|key| key.space == older.number) {
            continue;
        }
        let (id, fingerprint) = identify::key(facts, &older.generation, guard, body, scope);
        let (key_schema, key_epoch) =
            (older.generation.plan().key_schema.clone(), older.generation.key_epoch());
        keys.push(Key { space: older.number, id, fingerprint, key_schema, key_epoch });
        share(&keys[keys.len() - 1], &older.generation, guard);
    }
    keys.sort_by_key(|key| key.space);
    common.sort_by_key(|key| key.space);
    request.derived.common = common;
    if let Some(highest) = keys.last() {
        request.id = highest.id;
        request.derived.space = highest.space;
        request.claim.fingerprint = highest.fingerprint;
        request.claim.origin.key_schema = highest.key_schema.clone();
        request.claim.origin.key_epoch = highest.key_epoch;
    }
    if keys.len() > 1 {
        request.derived.keys = keys;
    }
    request
}

/// Under which of these keys a record is kept; where it is in a space that isn't derived here, one from
/// which pointers lead there.
pub fn id_of(keys: &[Key], record: &Record) -> Option<OperationId> {
    let origin = &record.origin;
    let kept =
        keys.iter().find(|key| key.key_schema == origin.key_schema && key.key_epoch == origin.key_epoch);
    kept.or(keys.first()).map(|key| key.id)
}

impl crate::gateway::Undecided {
    /// What the caller is told.
    pub(super) fn into_problem(
        self,
        worker: &Worker,
        generation: &Generation,
        principal: &PrincipalId,
    ) -> Problem {
        let failure = match self {
            Self::Request(problem) => return problem,
            Self::Policy(failure) => failure,
        };
        tracing::error!(policy = %generation.name(), generation = generation.number(), kind = failure.kind(), %failure, "a policy failed");
        worker.shared.policy_failed(generation, principal, &failure);
        Problem::new(
            Code::PolicyFailed,
            "The policy that makes idempotency keys here failed on this request, so nothing was sent. Asking again \
             with the same key is safe.",
        )
    }
}

/// A verdict and, where its policy speaks the caller's protocol, who asked.
pub type Judged = (Verdict, Option<Presenter>);
