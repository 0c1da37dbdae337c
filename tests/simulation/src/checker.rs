//! The promises, checked over a history. The checker knows only effects, requests sent and declined, the
//! clients' answers, and gateways in trouble. It knows nothing of records, leases or versions.
//!
//! Long because it is one list of promises, and all read the same history.

use crate::faults::{Faults, Setting, Ways};
use crate::world::{Entry, Event, Reply, RequestId};
use oncegate_core::{Disposition, Refusal, Timestamp, WhenUnknown};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The way to the store and back, where nothing hinders. A request that came this long before there was doubt
/// had waited.
const WAY: Duration = Duration::from_millis(3);
/// How often a claim of four keys goes to the store, with a pointer or two to follow.
const KEYS_WAYS: u32 = 10;

/// A promise that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the promise.
    pub promise: &'static str,
    /// The facts that broke it.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.detail)
    }
}

type Checked = Result<(), Violation>;

/// Checks every promise.
pub fn check(setting: &Setting, faults: &Faults, history: &[Entry]) -> Checked {
    let requests = requests(history);
    for operation in 0..setting.operations {
        let of = Operation { setting, faults, history, requests: &requests, operation };
        of.runs_once()?;
        of.passes_only_what_nothing_guards()?;
        of.is_freed_only_when_nothing_happened()?;
        of.tells_what_is_so()?;
        of.keeps_its_answer()?;
        of.comes_to_an_end()?;
    }
    Ok(())
}

/// The life of one request, by places in the history.
#[derive(Debug)]
struct Request {
    id: RequestId,
    operation: usize,
    content: u32,
    gateway: usize,
    arrived: usize,
    /// The ways by which the request's keys were made.
    ways: Ways,
    /// Where the request was found to be unguarded.
    passes: Option<usize>,
    /// Where the request had the claim.
    executes: Option<usize>,
    /// The request's attempts, where it executed.
    sent: Vec<(usize, u32)>,
    declined: Vec<(usize, u32)>,
    effects: Vec<(usize, u32)>,
    judged: Option<(usize, Disposition)>,
    got: Option<(usize, u32, bool)>,
    told: Option<(usize, Reply)>,
    is_last: bool,
}

fn requests(history: &[Entry]) -> BTreeMap<RequestId, Request> {
    let mut requests = BTreeMap::new();
    let last = history.iter().filter_map(|entry| match entry.event {
        Event::Last { request } => Some(request),
        _ => None,
    });
    let last: BTreeSet<_> = last.collect();
    for (place, entry) in history.iter().enumerate() {
        if let Event::Arrived { request: id, operation, content, gateway } = entry.event {
            let (sent, declined, effects) = (Vec::new(), Vec::new(), Vec::new());
            let (arrived, is_last) = (place, last.contains(&id));
            let request = Request {
                id,
                operation,
                content,
                gateway,
                arrived,
                ways: Ways::default(),
                passes: None,
                executes: None,
                sent,
                declined,
                effects,
                judged: None,
                got: None,
                told: None,
                is_last,
            };
            requests.insert(id, request);
        }
        let mut of = |id: &RequestId, change: &dyn Fn(&mut Request)| {
            change(requests.get_mut(id).expect("what was not asked has no consequences"));
        };
        match &entry.event {
            Event::Keyed { request, ways } => of(request, &|r| r.ways = *ways),
            Event::Passes { request } => of(request, &|r| r.passes = Some(place)),
            Event::Executes { request } => of(request, &|r| r.executes = Some(place)),
            Event::Sent { request, attempt } => of(request, &|r| r.sent.push((place, *attempt))),
            Event::Declined { request, attempt } => of(request, &|r| r.declined.push((place, *attempt))),
            Event::Effect { request, token, .. } => of(request, &|r| r.effects.push((place, *token))),
            Event::Judged { request, means } => of(request, &|r| r.judged = Some((place, *means))),
            Event::Got { request, token, large } => of(request, &|r| r.got = Some((place, *token, *large))),
            Event::Told { request, reply } => of(request, &|r| r.told = Some((place, reply.clone()))),
            _ => {}
        }
    }
    requests
}

impl Request {
    /// Where the request's execution began to send.
    fn first_sent(&self) -> Option<usize> {
        self.sent.first().map(|(place, _)| *place)
    }

    /// Whether, as far as anybody can know at `place`, the execution may have happened or may yet happen.
    fn may_have_happened(&self, place: usize) -> bool {
        let declined = |attempt| self.declined.iter().any(|(at, which)| *at < place && *which == attempt);
        self.sent.iter().any(|(at, attempt)| *at < place && !declined(*attempt))
    }
}

struct Operation<'a> {
    setting: &'a Setting,
    faults: &'a Faults,
    history: &'a [Entry],
    requests: &'a BTreeMap<RequestId, Request>,
    operation: usize,
}

impl Operation<'_> {
    fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values().filter(|request| request.operation == self.operation)
    }

    /// The operation's executions, in the order in which they began to send.
    fn executions(&self) -> Vec<&Request> {
        let mut executions: Vec<_> = self.requests().filter(|request| !request.sent.is_empty()).collect();
        executions.sort_by_key(|request| request.first_sent());
        executions
    }

    fn ledger(&self, place: usize) -> Timestamp {
        self.history[place].ledger
    }

    /// Whether the record of this execution may be gone at `place`: the soonest that it can be. A known
    /// outcome counts from the time when somebody had the answer or found it. An unknown outcome counts from
    /// the claim, so that a standstill before the first byte counts, too, which may be longer than all
    /// memory. Where clients say when they first sent the operation, it doesn't run again even then.
    fn may_be_forgotten(&self, execution: &Request, place: usize) -> bool {
        !self.setting.first_sent && self.may_be_gone(execution, place)
    }

    fn may_be_gone(&self, execution: &Request, place: usize) -> bool {
        let times = &self.setting.times;
        let unknown = times.unknown_retention + times.tombstone.max(times.unknown_retention);
        let known = self.known_after(execution.arrived).map(|at| at.plus(times.retention + times.tombstone));
        let soonest = known.unwrap_or(Timestamp::MAX).min(self.claimed(execution).plus(unknown));
        self.latest(execution.arrived, place) >= soonest
    }

    /// When the operation's outcome was first learned after `from`.
    fn known_after(&self, from: usize) -> Option<Timestamp> {
        let later = self.history[from..].iter();
        let known = |entry: &&Entry| match entry.event {
            Event::Got { request, .. } => self.requests[&request].operation == self.operation,
            Event::Found { operation } => operation == self.operation,
            _ => false,
        };
        later.clone().find(known).map(|entry| entry.ledger)
    }

    /// When an execution claimed, at the soonest: a gateway in trouble notices late that it has.
    fn claimed(&self, execution: &Request) -> Timestamp {
        let had = execution.executes.unwrap_or(execution.arrived);
        let trouble = self.history[execution.arrived..had].iter().find(|entry| match entry.event {
            Event::Paused { gateway } | Event::Hindered { gateway } => gateway == execution.gateway,
            _ => false,
        });
        let way = self.ledger(had).minus(self.way()).max(self.ledger(execution.arrived));
        trouble.map_or(way, |entry| entry.ledger.min(way))
    }

    /// The latest ledger time between two places. A wall clock that was put back takes ledger time with it at
    /// the next start.
    fn latest(&self, from: usize, to: usize) -> Timestamp {
        let times = self.history[from..=to].iter().map(|entry| entry.ledger);
        times.max().expect("there is the place itself")
    }

    fn fails(&self, promise: &'static str, detail: String) -> Checked {
        Err(Violation { promise, detail: format!("operation {}: {detail}", self.operation) })
    }

    /// Promise 1: no second execution while an earlier one may have happened, unless the earlier one was
    /// forgotten, freed, or found to be in doubt and sent again where that is allowed.
    fn runs_once(&self) -> Checked {
        let executions = self.executions();
        for (n, later) in executions.iter().enumerate() {
            let sent = later.first_sent().expect("executions have sent");
            for earlier in &executions[..n] {
                let before = earlier.first_sent().expect("executions have sent");
                let freed = self.freed_between(before, sent);
                // The later execution claimed first and stood still before its first byte for longer than
                // its record is remembered: nothing but memory keeps these two apart.
                let outlived = earlier.executes.is_some_and(|claimed| {
                    later.executes < Some(claimed) && self.may_be_forgotten(later, claimed)
                });
                if !earlier.may_have_happened(sent)
                    || freed
                    || outlived
                    || self.may_be_forgotten(earlier, sent)
                {
                    continue;
                }
                let pair =
                    format!("request {} may have executed it, and request {} did", earlier.id, later.id);
                if !(self.setting.when_unknown == WhenUnknown::Resend && self.setting.repeats()) {
                    return self.fails("never twice", pair);
                }
                if !self.in_doubt(earlier, later) {
                    return self.fails("sent again only what is known to be in doubt", pair);
                }
                if earlier.content != later.content {
                    return self.fails("sent again only as it was", pair);
                }
                if let Some(told) = self.told_final_between(before, later.arrived) {
                    return self.fails("never after its answer", format!("{pair}; {told}"));
                }
            }
        }
        Ok(())
    }

    /// An operation that a gateway's policy no longer guards doesn't run again beside a guarded execution, if
    /// that gateway makes keys by one of the ways by which the execution was guarded.
    fn passes_only_what_nothing_guards(&self) -> Checked {
        for passed in self.requests() {
            let Some(place) = passed.passes else { continue };
            for execution in self.executions() {
                let sent = execution.first_sent().expect("executions have sent");
                let found = sent < passed.arrived && execution.ways.meet(passed.ways);
                if found
                    && execution.may_have_happened(passed.arrived)
                    && !self.freed_between(sent, place)
                    && !self.may_be_gone(execution, place)
                {
                    let pair = format!(
                        "request {} may have executed it, and request {} passed",
                        execution.id, passed.id
                    );
                    return self.fails("what ran guarded stays guarded", pair);
                }
            }
        }
        Ok(())
    }

    /// Whether another operation of the same principal may have been asked for under a key of this one, by a
    /// way that a policy has had.
    fn shares_a_key(&self, place: usize) -> bool {
        let Some(changes) = &self.setting.changes else { return false };
        let ways = self.history[..place].iter().filter_map(|entry| match entry.event {
            Event::Changes { way } => Some(way),
            _ => None,
        });
        let merges = std::iter::once(1).chain(ways).any(|way| changes.merging.has(way));
        let others = self.requests.values().filter(|one| one.operation != self.operation);
        merges
            && others
                .into_iter()
                .any(|one| one.arrived < place && one.operation.abs_diff(self.operation).is_multiple_of(2))
    }

    fn freed_between(&self, from: usize, to: usize) -> bool {
        self.history[from..to].iter().any(|entry| entry.event == Event::Freed { operation: self.operation })
    }

    /// Whether it could be known, when `later` came, that `earlier` is in doubt. If `later` was held up on
    /// its way, the time when it sent counts, too: it finds the outcome of an execution meanwhile.
    fn in_doubt(&self, earlier: &Request, later: &Request) -> bool {
        let sent = self.history[later.first_sent().expect("it has sent")].at;
        if later.executes < earlier.executes {
            // The later execution was the first to claim, and stood still before its first byte. The other
            // could claim because this one is in doubt itself.
            return self.was_held_up(later);
        }
        self.in_doubt_at(earlier, self.history[later.arrived].at + self.way())
            || (self.was_held_up(later) && self.in_doubt_at(earlier, sent))
    }

    /// Whether the doubt could be known then: somebody had said so, the execution's gateway had found so, or
    /// was in such trouble that its lease can have lapsed.
    fn in_doubt_at(&self, earlier: &Request, came: Duration) -> bool {
        let of_operation = |id: &RequestId| self.requests[id].operation == self.operation;
        // Trouble of a gateway when a request arrives may have begun before.
        let from = self.history[earlier.arrived].at.saturating_sub(self.faults.slow_max);
        let before = self.history[..earlier.arrived].partition_point(|entry| entry.at < from);
        let hindered = self.history[before..earlier.arrived].iter().any(|entry| {
            matches!(entry.event, Event::Hindered { .. }) && self.can_lose_its_lease(earlier, entry, came)
        });
        let since = self.history[earlier.arrived..].iter().take_while(|entry| entry.at <= came);
        let announced = since.clone().any(|entry| match &entry.event {
            Event::Answers { request, reply } => of_operation(request) && reply.announces_doubt(),
            Event::Judged { request, means } => *request == earlier.id && *means == Disposition::Unknown,
            _ => false,
        });
        announced || hindered || since.clone().any(|entry| self.can_lose_its_lease(earlier, entry, came))
    }

    /// The way to the store and back: more than once, where an operation has several keys.
    fn way(&self) -> Duration {
        if self.setting.changes.is_some() { WAY * KEYS_WAYS } else { WAY }
    }

    /// Whether, for this trouble, `earlier` can have no lease any more at `came`. A lease is renewed when a
    /// third of it is over; so long before, the last renewal can have been. An outcome whose recording is
    /// hindered is known to others before it is known to the gateway.
    fn can_lose_its_lease(&self, earlier: &Request, trouble: &Entry, came: Duration) -> bool {
        let lapses = trouble.at + self.setting.times.lease * 2 / 3;
        match trouble.event {
            // A gateway that starts again on a store of its own knows at once that nobody executes any more.
            Event::Crashed { gateway } => {
                gateway == earlier.gateway && (self.setting.embedded() || lapses <= came)
            }
            Event::Paused { gateway } | Event::Hindered { gateway } => {
                gateway == earlier.gateway && lapses <= came
            }
            _ => false,
        }
    }

    /// Whether a request can have been held up on its way.
    fn was_held_up(&self, later: &Request) -> bool {
        let longest = self.history[later.arrived].at.saturating_sub(self.faults.pause_max);
        let way = &self.history[..later.first_sent().expect("it has sent")];
        way.iter().rev().take_while(|entry| entry.at >= longest).any(|entry| match entry.event {
            Event::Paused { gateway } | Event::Hindered { gateway } => gateway == later.gateway,
            _ => false,
        })
    }

    fn told_final_between(&self, from: usize, to: usize) -> Option<String> {
        self.requests().find_map(|request| {
            let (place, reply) = request.told.as_ref()?;
            let is_final = matches!(reply, Reply::Replayed { .. });
            // A request that came before may have been told of an earlier life, and late.
            let of_this_life = request.arrived > from && *place < to;
            (is_final && of_this_life).then(|| format!("request {} had its answer", request.id))
        })
    }

    /// An operator or a probe that frees an operation knows that nothing of it happened, and that nothing
    /// will.
    fn is_freed_only_when_nothing_happened(&self) -> Checked {
        for (freed, entry) in self.history.iter().enumerate() {
            if entry.event != (Event::Freed { operation: self.operation }) {
                continue;
            }
            for execution in self.executions() {
                let sent = execution.first_sent().expect("executions have sent");
                let this_life = sent < freed
                    && !self.freed_between(sent, freed)
                    && !self.may_be_forgotten(execution, freed);
                if this_life && !execution.effects.is_empty() {
                    return self
                        .fails("freed only when proven", format!("request {} took effect", execution.id));
                }
            }
        }
        Ok(())
    }

    /// Promise 4, and that statements about an operation are true: an answer is this operation's, and to this
    /// very request; a key is called reused only where it was.
    fn tells_what_is_so(&self) -> Checked {
        for request in self.requests() {
            let Some((place, reply)) = &request.told else { continue };
            match reply {
                Reply::Replayed { content, token }
                    if *content != request.content || !self.is_answer_before(*place, *token) =>
                {
                    return self.fails(
                        "nobody sees another's answer",
                        format!("request {} got {reply:?}", request.id),
                    );
                }
                Reply::First { content, .. } if *content != request.content => {
                    return self.fails(
                        "nobody sees another's answer",
                        format!("request {} got {reply:?}", request.id),
                    );
                }
                Reply::Refused(Refusal::KeyReused) => {
                    let other = |r: &Request| r.content != request.content && r.arrived < *place;
                    if !self.requests().any(other) && !self.shares_a_key(*place) {
                        return self.fails("reused only where it was", format!("request {}", request.id));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a gateway had this answer of the operation from upstream, or somebody found it there.
    fn is_answer_before(&self, place: usize, token: u32) -> bool {
        let found = Event::Found { operation: self.operation };
        let found = self.history[..place].iter().any(|entry| entry.event == found);
        self.requests().any(|request| {
            let got = request.got.is_some_and(|(at, got, _)| at < place && got == token);
            got || (found && request.effects.iter().any(|(at, done)| *at < place && *done == token))
        })
    }

    /// Promises 2 and 3: every later request is told the same outcome as the first client until retention
    /// ends, and then that there was one.
    fn keeps_its_answer(&self) -> Checked {
        for known in self.requests() {
            let Some((told, reply)) = &known.told else { continue };
            let token = match reply {
                Reply::Replayed { token, .. } => *token,
                // Where repeats are accepted, an execution that was given up answers its own client.
                Reply::First { token, means: Disposition::Completed, .. } if !self.setting.accept_repeats => {
                    *token
                }
                _ => continue,
            };
            // The answer may have been a long time on its way. The sooner it was given, the less is asked.
            let itself = (!known.sent.is_empty()).then_some(known);
            let began = itself.or_else(|| self.began_before(known.arrived));
            // No execution had begun when the answer was asked for. The answer is told late, perhaps after
            // the record was forgotten and another execution has begun: then it is of the last execution with
            // that answer.
            let of_answer = || {
                let begun = self.executions().into_iter().take_while(|one| one.first_sent() < Some(*told));
                begun.filter(|one| matches!(one.got, Some((_, t, _)) if t == token)).last()
            };
            let began = began.or_else(of_answer).or_else(|| self.began_before(*told));
            let Some(began) = began else { continue };
            let given = self.known_after(began.arrived).unwrap_or_else(|| self.ledger(began.arrived));
            let large =
                self.requests().any(|request| matches!(request.got, Some((_, t, true)) if t == token));
            for later in self.requests().filter(|later| later.arrived > *told) {
                let Some((place, reply)) = &later.told else { continue };
                if self.may_be_forgotten(began, *place) {
                    continue;
                }
                let latest = self.latest(later.arrived, *place);
                let expired = latest >= given.plus(self.setting.times.retention);
                // A claim with the same content came to nothing, and was left behind in a space that had
                // left.
                let left_behind = || {
                    let alike = |one: &Request| one.content == later.content && one.arrived < later.arrived;
                    self.setting.changes.is_some()
                        && later.content != known.content
                        && self.requests().any(alike)
                };
                let fits = match reply {
                    Reply::Replayed { token: again, .. } => *again == token,
                    // Another check decides whether the operation may pass.
                    Reply::Refused(Refusal::InFlight) | Reply::Passed | Reply::Unavailable | Reply::Cut => {
                        true
                    }
                    Reply::Refused(Refusal::Consumed) => large,
                    Reply::Refused(Refusal::Expired | Refusal::TooLate) if expired => true,
                    Reply::Refused(Refusal::Expired | Refusal::Unknown) => left_behind(),
                    Reply::Refused(Refusal::TooLate) => false,
                    Reply::Refused(Refusal::KeyReused) => later.content != known.content,
                    Reply::Refused(Refusal::Ahead | Refusal::PrincipalChanged)
                    | Reply::First { .. }
                    | Reply::NoAnswer(_)
                    | Reply::Shared
                    | Reply::Unrecorded => false,
                };
                if !fits {
                    let detail = format!(
                        "request {} was told answer {token}, request {} after it {reply:?}",
                        known.id, later.id
                    );
                    return self.fails("one answer, and never lost", detail);
                }
            }
        }
        Ok(())
    }

    /// The execution of the record at `place`.
    fn began_before(&self, place: usize) -> Option<&Request> {
        let begun = self.executions().into_iter().take_while(|one| one.first_sent() < Some(place));
        begun.last()
    }

    /// With nothing wrong any more, everyone gets a final answer, and an outcome that a gateway has had in
    /// its hands all the time is not called unknown.
    fn comes_to_an_end(&self) -> Checked {
        for last in self.requests().filter(|request| request.is_last) {
            match &last.told {
                Some((_, reply)) if !reply.is_for_now() => {}
                told => {
                    return self
                        .fails("a final answer in the end", format!("request {} got {told:?}", last.id));
                }
            }
            let unknown = matches!(last.told, Some((_, Reply::Refused(Refusal::Unknown))));
            if unknown && self.setting.when_unknown != WhenUnknown::Resend {
                for request in self.requests() {
                    let Some((got, ..)) = request.got else { continue };
                    let crashed = Event::Crashed { gateway: request.gateway };
                    if !self.history[got..].iter().any(|entry| entry.event == crashed) {
                        let detail =
                            format!("request {} had got it, and its gateway never ended", request.id);
                        return self.fails("an answer that came is recorded", detail);
                    }
                }
            }
        }
        Ok(())
    }
}
