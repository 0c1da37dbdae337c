//! The one function that decides every transition in the life of an operation: `design/life.md`.
//!
//! `decide` reads no clock, takes no lock and does no I/O. The ledger puts the record that it returns by
//! compare-and-swap, expecting the version of the record that it was given. When the swap loses, the ledger
//! asks again with the record that won.

use crate::ids::{ExecutionId, Fingerprint};
use crate::outcome::{Outcome, Settlement, UnknownReason};
use crate::record::{CLOCK_TOLERANCE, Origin, Probing, Record, State, Times, View};
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How long a turn to ask the upstream stands. A prober that reports nothing in that time loses the turn to
/// the next.
pub const PROBE_TURN: Duration = Duration::from_secs(60);

/// What happens to a duplicate while the first execution is still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileRunning {
    /// The duplicate waits for the answer.
    Wait,
    /// The duplicate is refused at once.
    Reject,
}

/// What a duplicate does where the outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnknown {
    /// The duplicate is refused, and the key is held.
    Hold,
    /// The duplicate is refused, and the upstream is asked meanwhile.
    Probe,
    /// The duplicate is sent again. The caller of [`decide`] has checked that repeating does no harm.
    Resend,
}

/// The rules of the request's route, as its policy may have narrowed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a duplicate of a running execution does.
    pub while_running: WhileRunning,
    /// What a duplicate of an unknown outcome does.
    pub when_unknown: WhenUnknown,
}

/// The rules for events that ask for nothing: only claims have rules.
pub const NO_RULES: Rules = Rules { while_running: WhileRunning::Reject, when_unknown: WhenUnknown::Hold };

/// A request that asks to execute.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The request's fingerprint. A duplicate has the same fingerprint as the record.
    pub fingerprint: Fingerprint,
    /// The id of the execution, if the claim wins.
    pub execution: ExecutionId,
    /// The times of the record.
    pub times: Times,
    /// Where the request came from.
    pub origin: Origin,
    /// The policy's note.
    pub memo: Option<Arc<str>>,
    /// The later of ledger time and wall clock. `origin.first_sent` is compared with it.
    pub clock: Timestamp,
    /// An operation that was first sent before this may have run and been forgotten.
    pub remembered_since: Timestamp,
    /// When the request came to its gateway, before anything was asked for it. What became unknown later is
    /// not resent for it: its caller has not been told.
    pub came: Timestamp,
}

/// The result of asking the upstream about an unknown outcome.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The outcome found. [`Outcome::NotApplied`]: no effect. [`Outcome::Unknown`]: the probe found nothing
    /// out.
    pub outcome: Outcome,
    /// When the question was sent.
    pub asked: Timestamp,
    /// An execution takes no effect later than this after it became unknown. `None`: the operator states no
    /// such time, and a probe that finds no effect proves nothing.
    pub settle_after: Option<Duration>,
    /// When to ask again if that is needed. `None`: this was the last try.
    pub again: Option<Timestamp>,
}

/// Something that happens to an operation.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A request asks to execute.
    Claim(&'a Claim),
    /// The execution goes on and renews its lease.
    Renew(ExecutionId),
    /// The execution ended.
    Settle(ExecutionId, &'a Settlement),
    /// The gateway that executed is gone for certain: an embedded store was opened anew.
    Restart,
    /// An operator, or a late answer, tells how an unknown execution ended.
    Resolve(ExecutionId, &'a Outcome),
    /// The upstream was asked about an unknown execution.
    Probed(ExecutionId, &'a Probe),
    /// An operator wants the record gone.
    Forget,
    /// The sweep looks at the record.
    Sweep,
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The key was used for another operation.
    KeyReused,
    /// The operation is executing, and the route does not wait.
    InFlight,
    /// Nobody knows the outcome.
    Unknown,
    /// The operation took effect; there is no answer to replay.
    Consumed,
    /// The operation took effect; its answer is no longer replayed.
    Expired,
    /// There is no record, and the operation is older than what is remembered.
    TooLate,
    /// The operation says that it was first sent in the future, beyond the tolerated difference of clocks.
    Ahead,
    /// Another principal has begun the same operation under the same key, and the route refuses that. Only
    /// [`MultiKeyClaim`](crate::MultiKeyClaim) gives this refusal: the caller's own records can't show it.
    PrincipalChanged,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// There is no record.
    Absent,
    /// The record names another execution.
    OtherExecution,
    /// The lease ended before it was renewed.
    Lapsed,
    /// The execution still runs.
    Executing,
    /// The outcome must be resolved first.
    Unresolved,
    /// The outcome is known already.
    Final,
    /// The record only points to the key that has the operation.
    Pointer,
    /// Nothing is due.
    NotDue,
}

impl Unchanged {
    /// The reason's name in lists and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Absent => "no-record",
            Self::OtherExecution => "other-execution",
            Self::Lapsed => "lease-lapsed",
            Self::Executing => "executing",
            Self::Unresolved => "unresolved",
            Self::Final => "settled-already",
            Self::Pointer => "pointer",
            Self::NotDue => "not-due",
        }
    }
}

/// What the caller of [`decide`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A claim: put this record, and execute once it is durable.
    Execute(Record),
    /// A claim: answer from the record.
    Replay,
    /// A claim: wait for the running execution.
    Wait,
    /// A claim: refuse it.
    Refuse(Refusal),
    /// A claim: the record is a pointer, which [`MultiKeyClaim`](crate::MultiKeyClaim) follows.
    Follow,
    /// Any other event: put this record.
    Put(Record),
    /// Any other event: remove the record.
    Remove,
    /// Any other event: change nothing.
    Keep(Unchanged),
}

/// Decides what `event` does to an operation whose record is `record`, at `now`.
pub fn decide(rules: &Rules, record: Option<&Record>, event: Event<'_>, now: Timestamp) -> Decision {
    // A forgotten record is absent for every event but the sweep, which removes it.
    let live = record.filter(|record| record.view(now) != View::Absent);
    if live.is_some_and(|record| matches!(record.state, State::Pointer(_))) {
        return match event {
            Event::Claim(_) => Decision::Follow,
            _ => Decision::Keep(Unchanged::Pointer),
        };
    }
    match event {
        Event::Claim(claim) => decide_claim(rules, live, claim, now),
        Event::Renew(execution) => decide_renewal(live, execution, now),
        Event::Settle(execution, settlement) => decide_settlement(live, execution, settlement, now),
        Event::Restart => decide_restart(live, now),
        Event::Resolve(execution, outcome) => decide_resolution(live, execution, outcome, now),
        Event::Probed(execution, probe) => decide_probe(live, execution, probe, now),
        Event::Forget => decide_forgetting(live, now),
        Event::Sweep => decide_sweep(record, now),
    }
}

fn decide_claim(rules: &Rules, live: Option<&Record>, claim: &Claim, now: Timestamp) -> Decision {
    let Some(record) = live else { return decide_fresh_claim(rules, claim, now) };
    if record.fingerprint != claim.fingerprint {
        return Decision::Refuse(Refusal::KeyReused);
    }
    match record.view(now) {
        View::Completed => Decision::Replay,
        View::Consumed => Decision::Refuse(Refusal::Consumed),
        View::Expired => Decision::Refuse(Refusal::Expired),
        View::Executing if rules.while_running == WhileRunning::Reject => Decision::Refuse(Refusal::InFlight),
        View::Executing => Decision::Wait,
        View::Unknown if resends(rules, record, claim) => Decision::Execute(Record {
            execution: claim.execution,
            attempts: record.attempts.saturating_add(1),
            resent: true,
            state: State::Executing { lease_until: now.plus(record.times.lease) },
            probing: record.probing.map(|_| Probing::begun()),
            ..record.clone()
        }),
        View::Unknown => Decision::Refuse(Refusal::Unknown),
        View::Absent => decide_fresh_claim(rules, claim, now),
        View::Pointer => Decision::Follow,
    }
}

/// Whether the claim's request may be sent although the outcome is unknown.
fn resends(rules: &Rules, record: &Record, claim: &Claim) -> bool {
    let known_by_then = record.unknown_since().is_some_and(|since| since < claim.came);
    rules.when_unknown == WhenUnknown::Resend && known_by_then
}

fn decide_fresh_claim(rules: &Rules, claim: &Claim, now: Timestamp) -> Decision {
    if let Some(first_sent) = claim.origin.first_sent {
        let first_sent = Timestamp::from_secs(first_sent.into());
        if first_sent > claim.clock.plus(CLOCK_TOLERANCE) {
            return Decision::Refuse(Refusal::Ahead);
        }
        if first_sent < claim.remembered_since {
            return Decision::Refuse(Refusal::TooLate);
        }
    }
    Decision::Execute(Record {
        fingerprint: claim.fingerprint,
        execution: claim.execution,
        attempts: 1,
        first_attempt: now,
        resent: false,
        times: claim.times,
        origin: claim.origin.clone(),
        memo: claim.memo.clone(),
        state: State::Executing { lease_until: now.plus(claim.times.lease) },
        probing: (rules.when_unknown == WhenUnknown::Probe).then_some(Probing::begun()),
        resolved_because: None,
    })
}

fn decide_renewal(live: Option<&Record>, execution: ExecutionId, now: Timestamp) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    if record.execution != execution {
        return Decision::Keep(Unchanged::OtherExecution);
    }
    match record.view(now) {
        View::Executing => {
            Decision::Put(with_state(record, State::Executing { lease_until: now.plus(record.times.lease) }))
        }
        // A client may have been told that the lapsed execution is unknown. So the execution can be settled,
        // not revived.
        View::Unknown => Decision::Keep(Unchanged::Lapsed),
        View::Completed | View::Consumed | View::Expired | View::Absent | View::Pointer => {
            Decision::Keep(Unchanged::Final)
        }
    }
}

fn decide_settlement(
    live: Option<&Record>,
    execution: ExecutionId,
    settlement: &Settlement,
    now: Timestamp,
) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    if record.execution != execution {
        return Decision::Keep(Unchanged::OtherExecution);
    }
    let noted = noted(record, settlement);
    match record.view(now) {
        View::Executing => settled(&noted, &settlement.outcome, now),
        View::Unknown => match (&settlement.outcome, &record.state) {
            // The record is unknown already: a further unknown outcome adds the policy's note only.
            (Outcome::Unknown(_), State::Unknown { .. }) if noted != *record => Decision::Put(noted),
            (Outcome::Unknown(_), State::Unknown { .. }) => Decision::Keep(Unchanged::Unresolved),
            _ => settled(&noted, &settlement.outcome, now),
        },
        View::Completed | View::Consumed | View::Expired | View::Absent | View::Pointer => {
            Decision::Keep(Unchanged::Final)
        }
    }
}

/// The record with the policy's note and retention of this settlement. A settlement never lengthens the
/// route's retention.
fn noted(record: &Record, settlement: &Settlement) -> Record {
    let times = &record.times;
    let retention = settlement.retention.map_or(times.retention, |retention| retention.min(times.memory));
    Record {
        times: Times { retention, ..*times },
        memo: settlement.memo.clone().or_else(|| record.memo.clone()),
        ..record.clone()
    }
}

/// Puts an outcome on a record that waits for one.
fn settled(record: &Record, outcome: &Outcome, now: Timestamp) -> Decision {
    match outcome {
        Outcome::Completed(answer) => {
            Decision::Put(finished(record, State::Completed { at: now, answer: answer.clone() }))
        }
        Outcome::Consumed(summary) => {
            Decision::Put(finished(record, State::Consumed { at: now, summary: summary.clone() }))
        }
        Outcome::NotApplied if record.resent => {
            Decision::Put(with_state(record, State::Unknown { since: now, reason: UnknownReason::Ambiguous }))
        }
        Outcome::NotApplied => Decision::Remove,
        Outcome::Unknown(reason) => {
            Decision::Put(with_state(record, State::Unknown { since: now, reason: *reason }))
        }
    }
}

fn decide_restart(live: Option<&Record>, now: Timestamp) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    match record.view(now) {
        View::Executing => {
            Decision::Put(with_state(record, State::Unknown { since: now, reason: UnknownReason::Crashed }))
        }
        View::Unknown => match record.state {
            State::Executing { lease_until } => Decision::Put(with_state(
                record,
                State::Unknown { since: lease_until, reason: UnknownReason::Crashed },
            )),
            State::Unknown { .. } | State::Completed { .. } | State::Consumed { .. } | State::Pointer(_) => {
                Decision::Keep(Unchanged::Unresolved)
            }
        },
        View::Completed | View::Consumed | View::Expired | View::Absent | View::Pointer => {
            Decision::Keep(Unchanged::Final)
        }
    }
}

/// A resolution speaks of the operation, not of one execution. So it also frees or ends a record that was
/// sent again.
fn decide_resolution(
    live: Option<&Record>,
    execution: ExecutionId,
    outcome: &Outcome,
    now: Timestamp,
) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    if record.execution != execution {
        return Decision::Keep(Unchanged::OtherExecution);
    }
    match (record.view(now), outcome) {
        (View::Unknown, Outcome::Unknown(_)) => Decision::Keep(Unchanged::Unresolved),
        (View::Unknown, Outcome::NotApplied) => Decision::Remove,
        (View::Unknown, Outcome::Completed(_) | Outcome::Consumed(_)) => settled(record, outcome, now),
        (View::Executing, _) => Decision::Keep(Unchanged::Executing),
        (View::Completed | View::Consumed | View::Expired | View::Absent | View::Pointer, _) => {
            Decision::Keep(Unchanged::Final)
        }
    }
}

/// An effect that was found counts at once. *No effect* counts only if the question was sent when no
/// execution could take effect any more. Before that the first execution may still have been on its way.
fn decide_probe(live: Option<&Record>, execution: ExecutionId, probe: &Probe, now: Timestamp) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    if record.execution != execution {
        return Decision::Keep(Unchanged::OtherExecution);
    }
    match record.view(now) {
        View::Unknown => {}
        View::Executing => return Decision::Keep(Unchanged::Executing),
        View::Completed | View::Consumed | View::Expired | View::Absent | View::Pointer => {
            return Decision::Keep(Unchanged::Final);
        }
    }
    let tries = record.probing.unwrap_or_default().tries;
    let settled_at = probe.settle_after.and_then(|span| Some(record.unknown_since()?.plus(span)));
    match (&probe.outcome, settled_at) {
        (Outcome::Completed(_) | Outcome::Consumed(_), _) => settled(record, &probe.outcome, now),
        (Outcome::NotApplied, Some(at)) if probe.asked >= at => Decision::Remove,
        // A question that was sent too early is no failure: the try does not count.
        (Outcome::NotApplied, Some(at)) => Decision::Put(with_probing(record, tries, Some(at))),
        (Outcome::NotApplied | Outcome::Unknown(_), _) => {
            Decision::Put(with_probing(record, tries.saturating_add(1), probe.again))
        }
    }
}

fn with_probing(record: &Record, tries: u32, next: Option<Timestamp>) -> Record {
    Record { probing: Some(Probing { tries, next }), ..record.clone() }
}

fn decide_forgetting(live: Option<&Record>, now: Timestamp) -> Decision {
    let Some(record) = live else { return Decision::Keep(Unchanged::Absent) };
    match record.view(now) {
        View::Completed | View::Consumed | View::Expired => Decision::Remove,
        View::Executing => Decision::Keep(Unchanged::Executing),
        View::Unknown => Decision::Keep(Unchanged::Unresolved),
        View::Absent | View::Pointer => Decision::Keep(Unchanged::Absent),
    }
}

fn decide_sweep(record: Option<&Record>, now: Timestamp) -> Decision {
    let Some(record) = record else { return Decision::Keep(Unchanged::Absent) };
    match (record.view(now), &record.state) {
        (View::Absent, _) => Decision::Remove,
        (View::Expired, State::Completed { at, answer }) => {
            Decision::Put(with_state(record, State::Consumed { at: *at, summary: answer.summary() }))
        }
        (View::Unknown | View::Expired, State::Executing { lease_until }) => Decision::Put(with_state(
            record,
            State::Unknown { since: *lease_until, reason: UnknownReason::Lapsed },
        )),
        // The gateway whose swap wins has the turn to ask.
        (View::Unknown, State::Unknown { .. }) if record.due_at() <= now => {
            let tries = record.probing.unwrap_or_default().tries;
            Decision::Put(with_probing(record, tries, Some(now.plus(PROBE_TURN))))
        }
        // An expired record is not probed any more.
        (View::Expired, State::Unknown { .. }) if record.due_at() <= now => {
            Decision::Put(with_probing(record, record.probing.unwrap_or_default().tries, None))
        }
        _ => Decision::Keep(Unchanged::NotDue),
    }
}

/// A known outcome is not probed any more.
fn finished(record: &Record, state: State) -> Record {
    Record { probing: None, ..with_state(record, state) }
}

fn with_state(record: &Record, state: State) -> Record {
    Record { state, ..record.clone() }
}

#[cfg(test)]
mod tests;
