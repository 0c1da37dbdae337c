//! The verdict on a request. The active generation gives the verdict; if the active generation does not guard
//! the operation, an older generation that guarded it does (`design/key-changes.md`).

use crate::answer::present::Presenter;
use crate::answer::problem::Problem;
use crate::answer::refusals;
use crate::request::context::{RequestContext, WholeRequest};
use crate::request::keys;
use crate::request::progress::RequestProgress;
use oncegate_keyspaces::{OlderGeneration, SpacePin};
use oncegate_policy::{Failure, Generation, Guard, OwnedOperation, PolicyRefusal, RequestField, Verdict};
use oncegate_store::StoreError;
use std::sync::Arc;
use std::time::Instant;

/// The treatment of a request.
#[derive(Debug)]
pub enum Treatment {
    /// The request is guarded.
    Guard(Guarded),
    /// The request goes through unguarded, for this reason.
    Bypass(String),
    /// The request is refused.
    Refuse(PolicyRefusal),
}

/// A verdict that guards an operation.
#[derive(Debug)]
pub struct Guarded {
    /// The generation that gave the verdict.
    pub generation: Arc<Generation>,
    /// The verdict of that generation.
    pub guard: Box<Guard>,
    /// A pin that keeps the older generation's space on the list meanwhile, if an older generation gave the
    /// verdict.
    pub pin: Option<SpacePin>,
    /// The verdicts of older generations that would guard the operation, too.
    pub older: Vec<OlderGuard>,
}

impl Guarded {
    /// Makes what the operation's keys need of its body, which was read whole.
    pub async fn prepare(&self, context: &mut RequestContext) -> Result<(), Problem> {
        let older = self.older.iter().map(|older| &*older.guard);
        let prepared = context.prepare(&self.generation, older.chain([&*self.guard])).await;
        prepared.map_err(|failure| Unjudged::Policy(failure).into_problem(context, &self.generation))
    }
}

/// The verdict of an older generation that would guard an operation.
#[derive(Debug)]
pub struct OlderGuard {
    /// The older generation.
    pub older: OlderGeneration<Arc<Generation>>,
    /// The verdict of that generation.
    pub guard: Box<Guard>,
}

/// Decides about a request. The body is read before the policy is asked only if a policy wants to see
/// the body.
pub async fn decide(
    context: &mut RequestContext,
    generation: Arc<Generation>,
    progress: &mut RequestProgress,
) -> Result<Treatment, Problem> {
    if context.route.wants_body(&context.arrival.head.method) {
        context.read(progress).await?;
    }
    let (verdict, presenter) = active_verdict(context, &generation).await?;
    let older = older_guards(context).await?;
    let treatment = match verdict {
        Verdict::Guard(guard) => Treatment::Guard(Guarded { generation, guard, pin: None, older }),
        Verdict::Bypass(reason) => {
            stays_guarded(context, older, progress).await?.map_or(Treatment::Bypass(reason), Treatment::Guard)
        }
        Verdict::Refuse(refusal) => stays_guarded(context, older, progress)
            .await?
            .map_or(Treatment::Refuse(refusal), Treatment::Guard),
    };
    // A refusal needs no presenter: it is in the policy's own words already.
    if !matches!(treatment, Treatment::Refuse(_)) {
        progress.presenter = presenter;
    }
    Ok(treatment)
}

/// A verdict, and the presenter if the policy speaks the caller's protocol.
type Judged = (Verdict, Option<Presenter>);

/// The active generation's verdict: a bypass for a method that only an older generation judges.
async fn active_verdict(context: &RequestContext, generation: &Arc<Generation>) -> Result<Judged, Problem> {
    if !context.route.judges(generation, &context.arrival.head.method) {
        return Ok((Verdict::Bypass("the policy does not judge this method".into()), None));
    }
    let judged = judge(context, generation).await;
    judged.map_err(|unjudged| unjudged.into_problem(context, generation))
}

/// The guards of the older generations that judge this method. An older generation that bypasses, refuses,
/// errs or traps adds no key: by its own verdict it never guarded the operation. An older generation that
/// could not run (deadline, no instance) makes us refuse.
async fn older_guards(context: &RequestContext) -> Result<Vec<OlderGuard>, Problem> {
    let (route, method) = (&context.route, &context.arrival.head.method);
    let mut guards = Vec::new();
    for older in route.older().iter().filter(|older| route.judges(&older.generation, method)) {
        match judge(context, &older.generation).await {
            Ok((Verdict::Guard(guard), _)) => guards.push(OlderGuard { older: older.clone(), guard }),
            Ok((Verdict::Bypass(_) | Verdict::Refuse(_), _)) => {}
            Err(Unjudged::Policy(failure)) if failure.is_its_own() => {}
            Err(unjudged) => return Err(unjudged.into_problem(context, &older.generation)),
        }
    }
    Ok(guards)
}

/// Guards an operation by an older generation if the active one does not, as
/// [`SpaceRegistry::stays_guarded`](oncegate_keyspaces::SpaceRegistry::stays_guarded) says.
async fn stays_guarded(
    context: &mut RequestContext,
    older: Vec<OlderGuard>,
    progress: &mut RequestProgress,
) -> Result<Option<Guarded>, Problem> {
    if older.is_empty() {
        return Ok(None);
    }
    context.read(progress).await?;
    let generation = &older[0].older.generation;
    let prepared = context.prepare(generation, older.iter().map(|older| &*older.guard)).await;
    prepared.map_err(|failure| Unjudged::Policy(failure).into_problem(context, generation))?;
    let whole = context.read(progress).await?;
    let found = pinned(&whole, &older).await.map_err(|error| {
        tracing::error!(route = &*context.route.config.name, %error, "the ledger is unavailable");
        refusals::ledger_unavailable_now()
    })?;
    Ok(found.map(|(number, pin)| {
        let OlderGuard { older: by, guard } = &older[number];
        let (generation, guard) = (by.generation.clone(), guard.clone());
        Guarded { generation, guard, pin: Some(pin), older }
    }))
}

/// The newest older generation that guards the operation.
async fn pinned(
    whole: &WholeRequest<'_>,
    guards: &[OlderGuard],
) -> Result<Option<(usize, SpacePin)>, StoreError> {
    let context = whole.context;
    let Some(policy) = &context.route.config.policy else { return Ok(None) };
    let key = |OlderGuard { older, guard }: &OlderGuard| {
        let (id, _) = keys::key(whole, &older.generation, guard);
        (older.number, id)
    };
    let spaces = context.worker.shared.ledger.key_spaces();
    spaces.older_guard((policy, context.route.list_version()), guards, key).await
}

/// The reason why a generation gave no verdict.
#[derive(Debug)]
enum Unjudged {
    /// The request can't be shown to the policy.
    Request(Problem),
    /// The policy failed.
    Policy(Failure),
}

impl Unjudged {
    /// The problem that the caller is told.
    fn into_problem(self, context: &RequestContext, generation: &Generation) -> Problem {
        let failure = match self {
            Self::Request(problem) => return problem,
            Self::Policy(failure) => failure,
        };
        tracing::error!(policy = %generation.name(), generation = generation.number(), kind = failure.kind(), %failure, "a policy failed");
        context.worker.shared.policy_failed(generation, &context.principal, &failure);
        refusals::policy_failed()
    }
}

/// Asks a generation for its verdict.
async fn judge(context: &RequestContext, generation: &Arc<Generation>) -> Result<Judged, Unjudged> {
    let principal = match generation.plan().request_fields.contains(&RequestField::Principal) {
        true => context.principal.to_string(),
        false => String::new(),
    };
    let payload = context.payload(generation).await.map_err(Unjudged::Policy)?;
    let operation = context.operation(generation, &principal, payload).map_err(Unjudged::Request)?;
    let begun = Instant::now();
    let verdict = context.worker.policies.decide(generation, &operation).await;
    context.route.metrics.decided(begun.elapsed());
    let presenter = generation.exports().has(oncegate_policy::Interface::Presentation).then(|| Presenter {
        generation: generation.clone(),
        principal: context.principal,
        operation: OwnedOperation::of(&operation),
        bodies: context.arrival.client.bodies().clone(),
    });
    verdict.map(|verdict| (verdict, presenter)).map_err(Unjudged::Policy)
}
