//! The keys of an operation, made of the parts of a whole request that a policy's guard names
//! (`design/keys.md`).

use crate::request::context::WholeRequest;
use oncegate_core::{Fingerprint, Framer, KeySpace, OperationId};
use oncegate_policy::{Generation, Guard, parts};

/// The key and the fingerprint by a guard, in its generation's key space.
pub fn key(whole: &WholeRequest<'_>, generation: &Generation, guard: &Guard) -> (OperationId, Fingerprint) {
    let context = whole.context;
    let secret = &context.worker.shared.secret;
    let deployment = &context.active.config.ledger.deployment;
    let mut framer = Framer::operation(secret, deployment, &context.principal, &space(generation));
    parts::frame(&guard.key, whole, &mut framer);
    (framer.into_operation(), parts::fingerprint(&guard.fingerprint, whole, secret))
}

/// The key that the operation shares with the same operation of any other principal.
pub fn common_id(
    whole: &WholeRequest<'_>,
    generation: &Generation,
    guard: &Guard,
    fingerprint: &Fingerprint,
) -> OperationId {
    let context = whole.context;
    let deployment = &context.active.config.ledger.deployment;
    let secret = &context.worker.shared.secret;
    let mut framer = Framer::common(secret, deployment, &space(generation), fingerprint);
    parts::frame(&guard.key, whole, &mut framer);
    framer.into_operation()
}

fn space(generation: &Generation) -> KeySpace<'_> {
    KeySpace {
        policy: generation.name(),
        key_schema: &generation.plan().key_schema,
        key_epoch: generation.key_epoch(),
    }
}
