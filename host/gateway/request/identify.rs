//! From a guarded request to an operation: the operation's key and fingerprint in every key space, and the
//! request to the ledger (`design/keys.md`).

use crate::request::context::WholeRequest;
use crate::request::drift::PrincipalObservation;
use crate::request::keys::{common_id, key};
use crate::request::principal;
use crate::request::route::Route;
use crate::request::verdict::{Guarded, OlderGuard};
use http::HeaderName;
use oncegate_config::PrincipalChanged;
use oncegate_core::{
    Claim, Fingerprint, Key, OperationId, Origin, Record, Rules, Times, Timestamp, WhenUnknown,
};
use oncegate_ledger::{self as ledger, Derived};
use oncegate_policy::sample::Sample;
use oncegate_policy::{Generation, Guard, recent};
use std::sync::Arc;

/// The request as it is kept for the promise check, without credentials; none if it is too large.
pub fn sample(whole: &WholeRequest<'_>) -> Option<Sample> {
    let (context, route) = (whole.context, &whole.context.route.config);
    let is_credential = |name: &HeaderName| principal::is_credential(&route.principal, name);
    let headers = recent::fields(context.arrival.fields(), is_credential)?;
    let head = &context.arrival.head;
    let sample = Sample::of(
        head.method.as_str(),
        context.authority(),
        &head.path,
        context.query(),
        headers,
        recent::body(&whole.body)?,
    );
    Some(sample.by(Some(context.principal.to_string()), route.name.to_string()))
}

/// The observation of the operation's principal, if the route counts a changed principal.
pub fn observation(
    whole: &WholeRequest<'_>,
    guarded: &Guarded,
    fingerprint: &Fingerprint,
) -> Option<PrincipalObservation> {
    let context = whole.context;
    match context.route.config.principal_changed {
        PrincipalChanged::Count => context.worker.shared.drift.observation(
            guarded.generation.name(),
            &guarded.guard.key,
            fingerprint,
            whole,
            &context.principal,
        ),
        PrincipalChanged::Refuse => None,
    }
}

/// The request to the ledger, with the operation's keys in all spaces.
pub fn request(whole: &WholeRequest<'_>, guarded: &mut Guarded) -> ledger::Request {
    let route = &whole.context.route;
    let mut request = own_request(whole, &guarded.generation, &guarded.guard);
    request.derived = Derived {
        space: route.number_of(&guarded.generation),
        term: route.term(),
        pin: guarded.pin.take().map(Arc::new),
        ..Derived::default()
    };
    let refuses = route.config.principal_changed == PrincipalChanged::Refuse;
    if guarded.older.is_empty() && !refuses {
        return request;
    }
    let mut common = Vec::new();
    let mut share = |key: &Key, generation: &Generation, guard: &Guard| {
        if refuses {
            let id = common_id(whole, generation, guard, &key.fingerprint);
            common.push(Key { id, ..key.clone() });
        }
    };
    let mut keys = vec![request.only_key()];
    share(&keys[0], &guarded.generation, &guarded.guard);
    for OlderGuard { older, guard } in &guarded.older {
        if keys.iter().any(|key| key.space == older.number) {
            continue;
        }
        let (id, fingerprint) = key(whole, &older.generation, guard);
        let (key_schema, key_epoch) =
            (older.generation.plan().key_schema.clone(), older.generation.key_epoch());
        keys.push(Key { space: older.number, id, fingerprint, key_schema, key_epoch });
        share(&keys[keys.len() - 1], &older.generation, guard);
    }
    common.sort_by_key(|key| key.space);
    request.derived.common = common;
    request.with_keys(keys)
}

/// The key of these under which a record is kept. If the record is in a space that isn't derived here, a key
/// from which pointers lead to the record.
pub fn id_of(keys: &[Key], record: &Record) -> Option<OperationId> {
    let origin = &record.origin;
    let kept =
        keys.iter().find(|key| key.key_schema == origin.key_schema && key.key_epoch == origin.key_epoch);
    kept.or(keys.first()).map(|key| key.id)
}

/// The request to the ledger under the key of this verdict alone.
fn own_request(whole: &WholeRequest<'_>, generation: &Generation, guard: &Guard) -> ledger::Request {
    let (context, route) = (whole.context, &whole.context.route);
    let (ledger, head) = (&context.worker.shared.ledger, &context.arrival.head);
    let (id, fingerprint) = key(whole, generation, guard);
    let times = times(&route.config.times, guard);
    let clock = ledger.clock().latest();
    let first_sent = Timestamp::from_secs(guard.first_sent.unwrap_or(0).into());
    let place = (&*route.config.name, &**generation.name());
    ledger::Request {
        id,
        claim: Claim {
            fingerprint,
            execution: ledger.execution_id(),
            times,
            origin: Origin {
                route: route.config.name.clone(),
                policy: generation.name().clone(),
                key_schema: generation.plan().key_schema.clone(),
                key_epoch: generation.key_epoch(),
                normalisation: context.active.config.server.paths.number(),
                method: Arc::from(head.method.as_str()),
                authority: head.authority.clone(),
                path: head.path.clone(),
                principal: context.principal,
                first_sent: guard.first_sent,
            },
            memo: guard.memo.clone(),
            clock,
            remembered_since: ledger.remembered_since(place, times.memory, first_sent, clock),
            came: context.came,
        },
        rules: Rules {
            while_running: guard.while_running.unwrap_or(route.config.while_running),
            when_unknown: when_unknown(route, guard, &head.method),
        },
        wait: route.config.wait,
        waiting_room: Some(route.clone()),
        derived: ledger::Derived::default(),
    }
}

/// The times of an operation. A policy may shorten the route's times, never lengthen them.
fn times(route: &Times, guard: &Guard) -> Times {
    Times {
        retention: guard.retention.map_or(route.retention, |own| own.min(route.retention)),
        tombstone: guard.tombstone.map_or(route.tombstone, |own| own.min(route.tombstone)),
        ..*route
    }
}

/// The treatment of an unknown outcome: `resend` only if repeating does no harm.
fn when_unknown(route: &Route, guard: &Guard, method: &http::Method) -> WhenUnknown {
    match guard.when_unknown.unwrap_or(route.config.when_unknown) {
        WhenUnknown::Resend if !route.upstream.config.takes_repeats(method.as_str()) => WhenUnknown::Hold,
        wanted => wanted,
    }
}
