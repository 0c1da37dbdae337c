//! The promises, checked over a history. The checker knows only effects, requests sent and declined, the
//! clients' answers, and gateways in trouble. It knows nothing of records, leases or versions.
//!
//! Long because it is one list of promises, and all read the same history.

mod answers;

use crate::faults::{Faults, Setting, Ways};
use crate::world::{Entry, Event, Reply, RequestId};
use oncegate_core::{Disposition, Timestamp, WhenUnknown};
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
        of.is_one_principals()?;
        of.passes_only_what_nothing_guards()?;
        of.is_freed_only_when_nothing_happened()?;
        of.tells_what_is_so()?;
        of.keeps_its_answer()?;
        of.comes_to_an_end()?;
        of.is_unknown_only_where_something_was_sent()?;
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

    /// Whether somebody freed the operation between two places: on proof, or because it was to be forgotten.
    fn freed_between(&self, from: usize, to: usize) -> bool {
        let freed = Event::Freed { operation: self.operation };
        self.history[from..to].iter().any(|entry| entry.event == freed) || self.forgotten_between(from, to)
    }

    fn forgotten_between(&self, from: usize, to: usize) -> bool {
        let forgotten = Event::Forgotten { operation: self.operation };
        self.history[from..to].iter().any(|entry| entry.event == forgotten)
    }

    /// Where the route refuses a changed principal: no execution of the same request of another principal
    /// while one may have happened.
    fn is_one_principals(&self) -> Checked {
        if !self.setting.refuses_changed {
            return Ok(());
        }
        for later in self.of(self.operation ^ 1).executions() {
            let sent = later.first_sent().expect("executions have sent");
            for earlier in self.executions() {
                let before = earlier.first_sent().expect("executions have sent");
                let alike = earlier.content % 10 == later.content % 10 && before < sent;
                if alike
                    && earlier.may_have_happened(sent)
                    && !self.freed_between(before, sent)
                    && !self.may_be_forgotten(earlier, sent)
                {
                    let pair = format!(
                        "request {} may have executed it, and request {} of another principal did",
                        earlier.id, later.id
                    );
                    return self.fails("one principal's", pair);
                }
            }
        }
        Ok(())
    }

    /// Another operation of the run.
    fn of(&self, operation: usize) -> Operation<'_> {
        Operation { operation, ..*self }
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
}
