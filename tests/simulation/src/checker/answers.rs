//! What clients are told: the promises over answers.

use super::{Checked, Operation, Request};
use crate::world::{Event, Reply};
use oncegate_core::{Disposition, Refusal, WhenUnknown};

impl Operation<'_> {
    /// Promise 4, and that statements about an operation are true: an answer is this operation's, and to this
    /// very request; a key is called reused only where it was.
    pub(super) fn tells_what_is_so(&self) -> Checked {
        for request in self.requests() {
            let Some((place, reply)) = &request.told else { continue };
            match reply {
                Reply::Replayed { content, token }
                    if (*content != request.content || !self.is_answer_before(request, *place, *token))
                        && !self.is_of_a_forgotten_one(*place, *token) =>
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
                Reply::Refused(Refusal::PrincipalChanged) => {
                    let other = self.of(self.operation ^ 1);
                    // The client itself is another principal by another source.
                    let asked = self.setting.sources > 1 || other.requests().any(|one| one.arrived < *place);
                    if !(self.setting.refuses_changed && asked) {
                        let detail = format!("request {}", request.id);
                        return self.fails("refused for another's only where there is one", detail);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a gateway had this answer of the operation from upstream, or somebody found it there, since the
    /// operation was last forgotten before the request came.
    fn is_answer_before(&self, asked: &Request, place: usize, token: u32) -> bool {
        let forgotten = Event::Forgotten { operation: self.operation };
        let mut before = self.history[..asked.arrived].iter();
        let since = before.rposition(|entry| entry.event == forgotten).unwrap_or(0);
        let found = Event::Found { operation: self.operation };
        let found = self.history[since..place].iter().any(|entry| entry.event == found);
        self.requests().any(|request| {
            // Who comes before an execution is over at its gateway may wait for it there, whatever an operator
            // does at another gateway. Where sources changed, an operation may have a record by each, of which one
            // was forgotten.
            let runs = request.told.as_ref().is_none_or(|(told, _)| *told > asked.arrived);
            let elsewhere = (runs && self.setting.gateways > 1) || self.setting.sources > 1;
            let since = if elsewhere { 0 } else { since };
            let got = request.got.is_some_and(|(at, got, _)| (since..place).contains(&at) && got == token);
            got || (found && request.effects.iter().any(|(at, done)| *at < place && *done == token))
        })
    }

    /// Whether this answer was found upstream, and is of an execution whose record may have been gone by then. Who
    /// asks a service about a key is told of whatever the service did under it, however late that took effect.
    fn is_of_a_forgotten_one(&self, place: usize, token: u32) -> bool {
        let found = Event::Found { operation: self.operation };
        let Some(at) = self.history[..place].iter().rposition(|entry| entry.event == found) else {
            return false;
        };
        let is_its = |execution: &&&Request| {
            execution.arrived < at && execution.effects.iter().any(|(_, done)| *done == token)
        };
        self.executions().iter().filter(is_its).any(|execution| self.may_be_gone(execution, at))
    }

    /// Promises 2 and 3: every later request is told the same outcome as the first client until retention
    /// ends, and then that there was one.
    pub(super) fn keeps_its_answer(&self) -> Checked {
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
            let no_room = Event::NoRoom { operation: self.operation };
            let large =
                self.requests().any(|request| matches!(request.got, Some((_, t, true)) if t == token))
                    || self.history[..].iter().any(|entry| entry.event == no_room);
            for later in self.requests().filter(|later| later.arrived > *told) {
                let Some((place, reply)) = &later.told else { continue };
                let begun = began.first_sent().expect("executions have sent");
                if self.may_be_forgotten(began, *place) || self.forgotten_between(begun, *place) {
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
                    // Another content may be another principal's, which is looked at with the reuse.
                    Reply::Refused(Refusal::KeyReused | Refusal::PrincipalChanged) => {
                        later.content != known.content
                    }
                    Reply::Refused(Refusal::Ahead)
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
    pub(super) fn comes_to_an_end(&self) -> Checked {
        for last in self.requests().filter(|request| request.is_last) {
            match &last.told {
                Some((_, reply)) if !reply.is_for_now() => {}
                told => {
                    return self
                        .fails("a final answer in the end", format!("request {} got {told:?}", last.id));
                }
            }
            let Some((told, Reply::Refused(Refusal::Unknown))) = last.told else { continue };
            if self.setting.when_unknown != WhenUnknown::Resend {
                for request in self.requests() {
                    let Some((got, ..)) = request.got else { continue };
                    // What is unknown is a later execution.
                    if self.may_be_forgotten(request, told) || self.freed_between(got, told) {
                        continue;
                    }
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

    pub(super) fn told_final_between(&self, from: usize, to: usize) -> Option<String> {
        self.requests().find_map(|request| {
            let (place, reply) = request.told.as_ref()?;
            let is_final = matches!(reply, Reply::Replayed { .. });
            // A request that came before may have been told of an earlier life, and late.
            let of_this_life = request.arrived > from && *place < to;
            (is_final && of_this_life).then(|| format!("request {} had its answer", request.id))
        })
    }

    /// Nobody is told in the end that the outcome is unknown, unless something was sent that may have
    /// happened. Where a gateway ended nobody knows whether it had begun to send; where a claim takes effect
    /// after its gateway has looked in vain, nobody is left to release it.
    pub(super) fn is_unknown_only_where_something_was_sent(&self) -> Checked {
        let late = Event::ClaimedLate { operation: self.operation };
        let ended = self
            .history
            .iter()
            .any(|entry| matches!(entry.event, Event::Crashed { .. }) || entry.event == late);
        for last in self.requests().filter(|request| request.is_last) {
            let Some((told, Reply::Refused(Refusal::Unknown))) = last.told else { continue };
            // What was declined when nobody listened any more is nobody's knowledge.
            let may_have = |one: &&Request| one.may_have_happened(one.judged.map_or(told, |(at, _)| at));
            if !ended && !self.executions().iter().any(may_have) {
                let detail = format!("request {} is told so", last.id);
                return self.fails("unknown only where something was sent", detail);
            }
        }
        Ok(())
    }
}
