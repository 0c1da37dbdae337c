//! Every (state × event) cell of [`decide`] as a table to read, `table.txt`, and the properties that must
//! hold over any sequence of events.
//!
//! Long because the table and the properties share their states and events.
//!
//! After an intended change, `UPDATE_TABLE=1 cargo test -p oncegate-core` writes the table anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::answer::{Answer, AnswerSummary};
use crate::ids::{PrincipalId, Recipe};
use proptest::prelude::*;
use std::fmt::Write;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const OWN: ExecutionId = ExecutionId([1; 16]);
const OTHER: ExecutionId = ExecutionId([2; 16]);
const CLAIMANT: ExecutionId = ExecutionId([3; 16]);

const TIMES: Times = Times {
    lease: secs(60),
    retention: secs(600),
    tombstone: secs(300),
    unknown_retention: secs(3_000),
    memory: secs(900),
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ago(n: u64) -> Timestamp {
    NOW.minus(secs(n))
}

fn rules(while_running: WhileRunning, when_unknown: WhenUnknown) -> Rules {
    Rules { while_running, when_unknown }
}

fn fingerprint(of: u8) -> Fingerprint {
    Fingerprint { recipe: Recipe::Request, hash: [of; 32] }
}

fn origin(first_sent: Option<Timestamp>) -> Origin {
    Origin {
        route: "charges".into(),
        policy: "payments".into(),
        key_schema: "k/1".into(),
        key_epoch: 0,
        normalisation: 1,
        method: "POST".into(),
        authority: "api.example.com".into(),
        path: "/v1/charges".into(),
        principal: PrincipalId([9; 32]),
        first_sent: first_sent.map(|at| at.as_secs() as u32),
    }
}

fn record(state: State) -> Record {
    Record {
        fingerprint: fingerprint(1),
        execution: OWN,
        attempts: 1,
        first_attempt: ago(10_000),
        resent: false,
        times: TIMES,
        origin: origin(None),
        memo: None,
        state,
        probing: None,
        resolved_because: None,
    }
}

fn probed(record: Record, tries: u32, next: Option<Timestamp>) -> Record {
    Record { probing: Some(Probing { tries, next }), ..record }
}

fn probe(outcome: Outcome, asked: Timestamp, settle_after: Option<u64>, again: Option<Timestamp>) -> Probe {
    Probe { outcome, asked, settle_after: settle_after.map(secs), again }
}

fn claim(print: u8, first_sent: Option<Timestamp>) -> Claim {
    Claim {
        fingerprint: fingerprint(print),
        execution: CLAIMANT,
        times: TIMES,
        origin: origin(first_sent),
        memo: None,
        clock: NOW,
        remembered_since: ago(86_400),
        came: NOW,
    }
}

fn answer(status: u16) -> Arc<Answer> {
    Arc::new(Answer { status, ..Answer::default() })
}

fn outcomes() -> [(&'static str, Outcome); 4] {
    [
        ("completed", Outcome::Completed(answer(201))),
        ("consumed", Outcome::Consumed(AnswerSummary { status: Some(202), ..AnswerSummary::default() })),
        ("not applied", Outcome::NotApplied),
        ("unknown", Outcome::Unknown(UnknownReason::TimedOut)),
    ]
}

/// A settlement with everything that a policy can add.
fn noting(outcome: Outcome) -> Settlement {
    Settlement { outcome, memo: Some("noted".into()), retention: Some(secs(60)) }
}

mod table {
    use super::*;

    fn states() -> Vec<(&'static str, Option<Record>)> {
        let lease = |lease_until| record(State::Executing { lease_until });
        let completed = |at| record(State::Completed { at, answer: answer(200) });
        let consumed = |at| record(State::Consumed { at, summary: AnswerSummary::default() });
        let unknown = |since| record(State::Unknown { since, reason: UnknownReason::Broken });
        let again = |record: Record| Record { attempts: 2, resent: true, ..record };
        vec![
            ("none", None),
            ("executing", Some(lease(NOW.plus(secs(20))))),
            ("executing, sent before with unknown outcome", Some(again(lease(NOW.plus(secs(20)))))),
            ("lapsed: executing, and the lease is over", Some(lease(ago(5)))),
            ("lapsed, sent before with unknown outcome", Some(again(lease(ago(5))))),
            ("completed", Some(completed(ago(100)))),
            ("consumed", Some(consumed(ago(100)))),
            ("unknown", Some(unknown(ago(100)))),
            ("unknown, sent before with unknown outcome", Some(again(unknown(ago(100))))),
            ("unknown, to be asked", Some(probed(unknown(ago(100)), 0, Probing::begun().next))),
            ("unknown, to be asked later", Some(probed(unknown(ago(100)), 2, Some(NOW.plus(secs(30)))))),
            ("unknown, nobody asks any more", Some(probed(unknown(ago(100)), 9, None))),
            ("lapsed, to be asked", Some(probed(lease(ago(5)), 0, Probing::begun().next))),
            ("expired: unknown, to be asked", Some(probed(unknown(ago(3_100)), 1, Some(ago(200))))),
            ("expired: completed", Some(completed(ago(700)))),
            ("expired: consumed", Some(consumed(ago(700)))),
            ("expired: unknown", Some(unknown(ago(3_100)))),
            ("expired: lapsed", Some(lease(ago(3_100)))),
            ("forgotten: completed", Some(completed(ago(900)))),
            ("forgotten: consumed", Some(consumed(ago(900)))),
            ("forgotten: unknown", Some(unknown(ago(6_000)))),
            ("forgotten: lapsed", Some(lease(ago(6_000)))),
        ]
    }

    #[test]
    fn is_as_committed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/decide/table.txt");
        let table = render();
        if std::env::var_os("UPDATE_TABLE").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        let changed = table.lines().zip(committed.lines()).find(|(now, then)| now != then);
        assert!(table == committed, "not as in {path}; the first line that differs: {changed:?}");
    }

    fn render() -> String {
        let mut text = String::from(
            "What each event does in each state. Lease 60 s, retention 600 s, tombstone 300 s, unknown\n\
             retention 3000 s; times are seconds from now. Made by decide_tests.rs.\n",
        );
        for (name, record) in states() {
            let record = record.as_ref();
            write!(text, "\n== {name}").unwrap();
            if let Some(record) = record {
                write!(text, " (seen as {}, due {})", record.view(NOW).word(), when(record.due_at()))
                    .unwrap();
            }
            text.push('\n');
            for (event, decision) in cells(record) {
                writeln!(text, "  {event:<46} {}", tell(&decision)).unwrap();
            }
        }
        text
    }

    fn cells(record: Option<&Record>) -> Vec<(String, Decision)> {
        use WhenUnknown::{Hold, Probe, Resend};
        use WhileRunning::{Reject, Wait};
        let hold = rules(Wait, Hold);
        let mut cells = Vec::new();
        let mut cell = |name: &str, rules: Rules, event: Event<'_>| {
            cells.push((name.to_owned(), decide(&rules, record, event, NOW)));
        };
        let same = claim(1, None);
        cell("claim", hold, Event::Claim(&same));
        cell("claim, where duplicates are rejected", rules(Reject, Hold), Event::Claim(&same));
        cell("claim, where unknowns are probed", rules(Wait, Probe), Event::Claim(&same));
        cell("claim, where unknowns are sent again", rules(Wait, Resend), Event::Claim(&same));
        cell("claim, other fingerprint", rules(Wait, Resend), Event::Claim(&claim(2, None)));
        cell("claim, first sent too long ago", hold, Event::Claim(&claim(1, Some(ago(86_401)))));
        cell("claim, first sent ahead of now", hold, Event::Claim(&claim(1, Some(NOW.plus(secs(301))))));
        cell("renew", hold, Event::Renew(OWN));
        cell("renew, other execution", hold, Event::Renew(OTHER));
        for (word, outcome) in outcomes() {
            cell(&format!("settle {word}"), hold, Event::Settle(OWN, &outcome.into()));
        }
        for (word, outcome) in outcomes() {
            let settlement = noting(outcome);
            cell(&format!("settle {word}, with a note"), hold, Event::Settle(OWN, &settlement));
        }
        for (word, outcome) in outcomes() {
            let settlement = noting(outcome);
            cell(&format!("settle {word}, other execution"), hold, Event::Settle(OTHER, &settlement));
        }
        cell("restart", hold, Event::Restart);
        for (word, outcome) in &outcomes() {
            cell(&format!("resolve {word}"), hold, Event::Resolve(OWN, outcome));
        }
        for (word, outcome) in &outcomes() {
            cell(&format!("resolve {word}, other execution"), hold, Event::Resolve(OTHER, outcome));
        }
        for (word, outcome) in &outcomes() {
            let probe = probe(outcome.clone(), NOW, Some(50), Some(NOW.plus(secs(10))));
            cell(&format!("probed: {word}"), hold, Event::Probed(OWN, &probe));
        }
        let not_applied = |settle_after| probe(Outcome::NotApplied, ago(1), settle_after, None);
        cell("probed: not applied, asked too early", hold, Event::Probed(OWN, &not_applied(Some(500))));
        cell("probed: not applied, nobody says by when", hold, Event::Probed(OWN, &not_applied(None)));
        cell("probed: not applied, other execution", hold, Event::Probed(OTHER, &not_applied(Some(50))));
        cell("forget", hold, Event::Forget);
        cell("sweep", hold, Event::Sweep);
        cells
    }

    fn when(at: Timestamp) -> String {
        let seconds = |from: Timestamp, to: Timestamp| to.since(from).as_secs();
        if at < NOW { format!("-{}", seconds(at, NOW)) } else { format!("+{}", seconds(NOW, at)) }
    }

    fn tell(decision: &Decision) -> String {
        let put = |record: &Record| {
            let execution = match record.execution {
                OWN => "same execution",
                CLAIMANT => "the claimant's execution",
                _ => "an execution that nobody named",
            };
            let state = match &record.state {
                State::Executing { lease_until } => format!("executing, lease {}", when(*lease_until)),
                State::Completed { at, answer } => {
                    format!("completed {}, answer {}", when(*at), answer.status)
                }
                State::Consumed { at, summary } => {
                    let status = summary.status.map_or("not known".into(), |status| status.to_string());
                    format!("consumed {}, answer was {status}", when(*at))
                }
                State::Unknown { since, reason } => format!("unknown {}, {}", when(*since), reason.word()),
                State::Pointer(pointer) => format!("pointer, lease {}", when(pointer.lease_until)),
            };
            let asking = match record.probing {
                None => String::new(),
                Some(Probing { tries, next: None }) => format!(", asked {tries} times and no more"),
                Some(Probing { tries, next: Some(next) }) if next == Timestamp::default() => {
                    format!(", asked {tries} times, next at once")
                }
                Some(Probing { tries, next: Some(next) }) => {
                    format!(", asked {tries} times, next {}", when(next))
                }
            };
            let resent = if record.resent { ", sent before" } else { "" };
            let memo = record.memo.as_ref().map(|memo| format!(", noted {memo:?}")).unwrap_or_default();
            let kept = match record.times.retention == TIMES.retention {
                true => String::new(),
                false => format!(", retention {} s", record.times.retention.as_secs()),
            };
            format!("{state}; {execution}, attempt {}{resent}{memo}{kept}{asking}", record.attempts)
        };
        match decision {
            Decision::Execute(record) => format!("EXECUTE  {}", put(record)),
            Decision::Put(record) => format!("put      {}", put(record)),
            Decision::Remove => "remove".into(),
            Decision::Follow => "follow".into(),
            Decision::Replay => "replay".into(),
            Decision::Wait => "wait".into(),
            Decision::Refuse(why) => format!("refuse   {why:?}"),
            Decision::Keep(why) => format!("-        {why:?}"),
        }
    }
}

/// An event, and the time since the event before it.
#[derive(Clone, Debug)]
struct Step {
    after: Duration,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Claim {
        print: u8,
        rules: Rules,
        first_sent_ago: Option<u64>,
        came_ago: u64,
    },
    Renew(Whose),
    Settle(Whose, Settlement),
    Restart,
    Resolve(Whose, Outcome),
    /// How long ago the question was sent; when nothing takes effect any more; whether the upstream is asked
    /// again.
    Probed(Whose, Outcome, u64, Option<u64>, bool),
    Forget,
    Sweep,
}

/// Which execution an event names.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// The execution that the record names.
    Current,
    /// The execution begun so many before the last.
    Earlier(usize),
    Nobodys,
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![4 => 0_u64..40, 1 => 40_u64..700, 1 => 700_u64..7_000];
    let outcome = (0_usize..4).prop_map(|n| outcomes()[n].1.clone());
    let memo = prop_oneof![Just(None), Just(Some("m".into())), Just(Some("n".into()))];
    let settlement = (outcome.clone(), memo, prop::option::of(1_u64..2_000))
        .prop_map(|(outcome, memo, retention)| Settlement { outcome, memo, retention: retention.map(secs) });
    let whose = || {
        prop_oneof![
            6 => Just(Whose::Current),
            2 => (0_usize..4).prop_map(Whose::Earlier),
            1 => Just(Whose::Nobodys),
        ]
    };
    let rules = (prop::bool::ANY, 0..3).prop_map(|(reject, unknown)| Rules {
        while_running: if reject { WhileRunning::Reject } else { WhileRunning::Wait },
        when_unknown: [WhenUnknown::Hold, WhenUnknown::Probe, WhenUnknown::Resend][unknown as usize],
    });
    let print = prop_oneof![8 => Just(1_u8), 1 => Just(2)];
    let claim = (print, rules, prop::option::of(0_u64..2_000), 0_u64..50).prop_map(
        |(print, rules, first_sent_ago, came_ago)| What::Claim { print, rules, first_sent_ago, came_ago },
    );
    let what = prop_oneof![
        5 => claim,
        1 => whose().prop_map(What::Renew),
        4 => (whose(), settlement).prop_map(|(whose, settlement)| What::Settle(whose, settlement)),
        1 => Just(What::Restart),
        2 => (whose(), outcome).prop_map(|(whose, outcome)| What::Resolve(whose, outcome)),
        3 => (whose(), (0_usize..4).prop_map(|n| outcomes()[n].1.clone()), 0_u64..50, prop::option::of(0_u64..500), prop::bool::ANY)
            .prop_map(|(whose, outcome, asked, settle, again)| What::Probed(whose, outcome, asked, settle, again)),
        1 => Just(What::Forget),
        3 => Just(What::Sweep),
    ];
    (after, what).prop_map(|(after, what)| Step { after: secs(after), what })
}

fn times() -> impl Strategy<Value = Times> {
    (1_u64..100, 1_u64..1_000, 0_u64..1_000, 1_u64..2_000).prop_map(
        |(lease, retention, tombstone, unknown)| Times {
            lease: secs(lease),
            retention: secs(retention),
            tombstone: secs(tombstone),
            unknown_retention: secs(unknown),
            memory: secs(retention + tombstone),
        },
    )
}

/// A ledger of one operation, and what has happened in it.
struct World {
    now: Timestamp,
    times: Times,
    record: Option<Record>,
    /// Executions begun, in order.
    executions: Vec<ExecutionId>,
    /// The last execution was proven not applied, by its own settlement or from outside, or its record was
    /// forgotten. Only these open the key again.
    reopened: bool,
}

impl World {
    fn view(&self) -> View {
        self.record.as_ref().map_or(View::Absent, |record| record.view(self.now))
    }

    fn execution(&self, whose: Whose) -> ExecutionId {
        match whose {
            Whose::Current => self.record.as_ref().map_or(OTHER, |record| record.execution),
            Whose::Earlier(n) => *self.executions.iter().rev().nth(n).unwrap_or(&OTHER),
            Whose::Nobodys => OTHER,
        }
    }

    fn decide(&self, what: &What) -> Decision {
        let mut rules_of_claim = rules(WhileRunning::Wait, WhenUnknown::Hold);
        let (claim, found);
        let event = match what {
            What::Claim { print, rules, first_sent_ago, came_ago } => {
                rules_of_claim = *rules;
                let number = self.executions.len() as u8 + 10;
                claim = Claim {
                    fingerprint: fingerprint(*print),
                    execution: ExecutionId([number; 16]),
                    times: self.times,
                    origin: origin(first_sent_ago.map(|ago| self.now.minus(secs(ago)))),
                    memo: None,
                    clock: self.now,
                    remembered_since: Timestamp::default(),
                    came: self.now.minus(secs(*came_ago)),
                };
                Event::Claim(&claim)
            }
            What::Renew(whose) => Event::Renew(self.execution(*whose)),
            What::Settle(whose, settlement) => Event::Settle(self.execution(*whose), settlement),
            What::Restart => Event::Restart,
            What::Resolve(whose, outcome) => Event::Resolve(self.execution(*whose), outcome),
            What::Probed(whose, outcome, asked, settle_after, again) => {
                let again = again.then(|| self.now.plus(secs(10)));
                found = probe(outcome.clone(), self.now.minus(secs(*asked)), *settle_after, again);
                Event::Probed(self.execution(*whose), &found)
            }
            What::Forget => Event::Forget,
            What::Sweep => Event::Sweep,
        };
        decide(&rules_of_claim, self.record.as_ref(), event, self.now)
    }

    /// Takes one step, and checks the properties that every step must have.
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.pass(step.after)?;
        let before = self.view();
        let decision = self.decide(&step.what);
        match &step.what {
            What::Claim { print, rules, came_ago, .. } => {
                self.check_claim(*print, *rules, self.now.minus(secs(*came_ago)), &decision)?;
            }
            What::Renew(whose)
            | What::Settle(whose, _)
            | What::Resolve(whose, _)
            | What::Probed(whose, ..) => {
                let named = self.record.as_ref().is_some_and(|r| r.execution == self.execution(*whose));
                let kept = matches!(decision, Decision::Keep(_));
                prop_assert!(named || kept, "what names another execution changes nothing: {decision:?}");
            }
            What::Sweep => self.check_sweep(before, &decision)?,
            What::Restart | What::Forget => {}
        }
        self.check_change(&step.what, before, &decision)?;
        match decision {
            Decision::Execute(record) => {
                self.executions.push(record.execution);
                self.reopened = false;
                self.record = Some(record);
            }
            Decision::Put(record) => self.record = Some(record),
            Decision::Remove => (self.record, self.reopened) = (None, true),
            Decision::Replay
            | Decision::Wait
            | Decision::Refuse(_)
            | Decision::Follow
            | Decision::Keep(_) => {}
        }
        Ok(())
    }

    /// Lets time pass. A record goes through its views in order and skips none.
    fn pass(&mut self, span: Duration) -> Result<(), TestCaseError> {
        let until = self.now.plus(span);
        if let Some(record) = &self.record {
            let mut last = record.view(self.now);
            let marks = [record.due_at(), record.expires_at(), record.forgotten_at(), until];
            let mut marks: Vec<_> = marks.into_iter().filter(|at| (self.now..=until).contains(at)).collect();
            marks.sort_unstable();
            for at in marks {
                let next = record.view(at);
                let allowed = next == last
                    || matches!(
                        (last, next),
                        (View::Executing, View::Unknown)
                            | (View::Unknown | View::Completed | View::Consumed, View::Expired)
                            | (View::Expired, View::Absent)
                    )
                    // A policy can ask for no tombstone.
                    || (matches!((last, next), (View::Completed | View::Consumed, View::Absent))
                        && record.times.tombstone.is_zero());
                prop_assert!(allowed, "{last:?} became {next:?} by itself");
                last = next;
            }
        }
        self.now = until;
        if self.record.is_some() && self.view() == View::Absent {
            self.reopened = true;
        }
        Ok(())
    }

    fn check_claim(
        &self,
        print: u8,
        rules: Rules,
        came: Timestamp,
        decision: &Decision,
    ) -> Result<(), TestCaseError> {
        let before = self.view();
        match decision {
            Decision::Execute(record) => {
                let resent = before == View::Unknown && rules.when_unknown == WhenUnknown::Resend;
                let free = before == View::Absent && (self.executions.is_empty() || self.reopened);
                prop_assert!(resent || free, "a second execution from {before:?}");
                prop_assert!(!self.executions.contains(&record.execution), "execution ids are new");
                prop_assert_eq!(record.resent, resent, "what was sent again stays in doubt");
                prop_assert_eq!(record.view(self.now), View::Executing);
                if let (true, Some(old)) = (resent, &self.record) {
                    prop_assert!(old.unknown_since() < Some(came), "its caller was told, or could have been");
                    prop_assert_eq!(record.fingerprint, old.fingerprint);
                    prop_assert_eq!(record.first_attempt, old.first_attempt);
                }
            }
            Decision::Replay => prop_assert_eq!(before, View::Completed),
            Decision::Wait => prop_assert_eq!(before, View::Executing),
            Decision::Refuse(why) => {
                let reused = self.record.as_ref().is_some_and(|r| r.fingerprint != fingerprint(print));
                let live = before != View::Absent;
                prop_assert_eq!(*why == Refusal::KeyReused, reused && live, "in every state with a record");
            }
            Decision::Put(_) | Decision::Remove | Decision::Follow | Decision::Keep(_) => {
                prop_assert!(false, "{decision:?}");
            }
        }
        Ok(())
    }

    /// A sweep acts from the moment that the record is due, and not before.
    fn check_sweep(&self, before: View, decision: &Decision) -> Result<(), TestCaseError> {
        let Some(record) = &self.record else {
            prop_assert_eq!(decision, &Decision::Keep(Unchanged::Absent));
            return Ok(());
        };
        let due = record.due_at();
        prop_assert_eq!(
            matches!(decision, Decision::Keep(_)),
            self.now < due,
            "due {}, now {}",
            due,
            self.now
        );
        if let Decision::Put(next) = decision {
            prop_assert_eq!(next.view(self.now), before, "nobody sees that it was swept");
            let to_be_asked = matches!(record.state, State::Executing { .. }) && next.probe_at().is_some();
            prop_assert!(next.due_at() > self.now || to_be_asked, "and it is done for now");
            prop_assert_eq!(next.forgotten_at(), record.forgotten_at());
            prop_assert_eq!(next.expires_at(), record.expires_at());
        }
        Ok(())
    }

    /// Checks the changes that no event but a claim may make.
    fn check_change(&self, what: &What, before: View, decision: &Decision) -> Result<(), TestCaseError> {
        let is_claim = matches!(what, What::Claim { .. });
        match decision {
            Decision::Execute(_) | Decision::Replay | Decision::Wait | Decision::Refuse(_) => {
                prop_assert!(is_claim, "only a claim is answered with {decision:?}");
            }
            Decision::Put(next) => {
                let Some(old) = &self.record else { return Err(TestCaseError::fail("put from nothing")) };
                prop_assert_eq!(next.execution, old.execution);
                prop_assert_eq!(next.resent, old.resent);
                prop_assert_eq!(next.attempts, old.attempts);
                if let What::Settle(_, settlement) = what {
                    let memo = settlement.memo.as_ref().or(old.memo.as_ref());
                    prop_assert_eq!(next.memo.as_ref(), memo, "the last note counts, none takes none away");
                    prop_assert!(next.times.retention <= old.times.memory, "no longer than the route says");
                } else {
                    prop_assert_eq!((&next.memo, next.times), (&old.memo, old.times));
                }
                let after = next.view(self.now);
                let ended = matches!(before, View::Completed | View::Consumed | View::Expired);
                prop_assert!(!ended || after == before, "{before:?} became {after:?}");
                prop_assert!(
                    before == View::Executing || after != View::Executing,
                    "no lease comes to life again: {before:?}"
                );
            }
            Decision::Remove => {
                let resent = self.record.as_ref().is_some_and(|record| record.resent);
                let proven = match what {
                    // A settlement of a later execution says nothing about the first.
                    What::Settle(_, settlement) if settlement.outcome == Outcome::NotApplied => {
                        matches!(before, View::Executing | View::Unknown) && !resent
                    }
                    What::Resolve(_, Outcome::NotApplied) => before == View::Unknown,
                    // *Not applied* counts only if the question was sent when nothing could take effect any
                    // more.
                    What::Probed(_, Outcome::NotApplied, asked, Some(settle_after), _) => {
                        let since = self.record.as_ref().and_then(Record::unknown_since);
                        before == View::Unknown
                            && since.is_some_and(|since| {
                                self.now.minus(secs(*asked)) >= since.plus(secs(*settle_after))
                            })
                    }
                    What::Forget => matches!(before, View::Completed | View::Consumed | View::Expired),
                    What::Sweep => before == View::Absent,
                    What::Claim { .. }
                    | What::Renew(_)
                    | What::Settle(..)
                    | What::Restart
                    | What::Resolve(..)
                    | What::Probed(..) => false,
                };
                prop_assert!(proven, "{what:?} opened the key from {before:?}");
            }
            Decision::Keep(_) => prop_assert!(!is_claim),
            Decision::Follow => prop_assert!(false, "no record here is a pointer"),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_over_any_events(times in times(), steps in prop::collection::vec(step(), 1..40)) {
        let mut world =
            World { now: NOW, times, record: None, executions: Vec::new(), reopened: false };
        for step in &steps {
            world.take(step)?;
        }
    }

    #[test]
    fn sweeping_alone_ends_every_record(times in times(), steps in prop::collection::vec(step(), 1..20)) {
        let mut world =
            World { now: NOW, times, record: None, executions: Vec::new(), reopened: false };
        for step in &steps {
            world.take(step)?;
        }
        // A life takes a few sweeps, and one for each probe turn that nobody takes up.
        for _ in 0..7 + times.unknown_retention.as_secs() / PROBE_TURN.as_secs() {
            let Some(record) = &world.record else { break };
            let after = record.due_at().since(world.now);
            world.take(&Step { after, what: What::Sweep })?;
        }
        prop_assert!(world.record.is_none(), "lease, retention, tombstone, and gone");
    }
}

#[test]
fn a_settlement_shortens_the_replay() {
    let executing = |times| Record {
        times,
        memo: Some("of the verdict".into()),
        ..record(State::Executing { lease_until: NOW.plus(secs(20)) })
    };
    let settle = |times, settlement: &Settlement| {
        let decided = decide(
            &rules(WhileRunning::Wait, WhenUnknown::Hold),
            Some(&executing(times)),
            Event::Settle(OWN, settlement),
            NOW,
        );
        let Decision::Put(record) = decided else { panic!("{decided:?}") };
        record
    };
    let completed = || Outcome::Completed(answer(200));
    let plain = settle(TIMES, &completed().into());
    assert_eq!((plain.memo.as_deref(), plain.expires_at()), (Some("of the verdict"), NOW.plus(secs(600))));
    let noted = settle(TIMES, &noting(completed()));
    assert_eq!((noted.memo.as_deref(), noted.expires_at()), (Some("noted"), NOW.plus(secs(60))));
    // The settlement's retention replaces the verdict's, up to the memory of the route.
    let shortened = Times { retention: secs(30), ..TIMES };
    assert_eq!(settle(shortened, &noting(completed())).expires_at(), NOW.plus(secs(60)));
    let long = Settlement { retention: Some(secs(9_999)), ..noting(completed()) };
    assert_eq!(settle(TIMES, &long).expires_at(), NOW.plus(TIMES.memory));
    // A client that first sent it then is still told that it happened, for as long as the route's times say.
    let first_sent = Record { origin: origin(Some(ago(10))), ..noted };
    assert_eq!(first_sent.view(NOW.plus(secs(61))), View::Expired);
    assert_eq!(first_sent.forgotten_at(), NOW.plus(TIMES.memory).plus(CLOCK_TOLERANCE));
    // An unknown outcome keeps the note and the shorter retention for its later resolution.
    let unknown = settle(TIMES, &noting(Outcome::Unknown(UnknownReason::Ambiguous)));
    assert_eq!((unknown.memo.as_deref(), unknown.times.retention), (Some("noted"), secs(60)));
}

#[test]
fn first_sent_keeps_a_record_for_the_routes_times() {
    // The policy shortened retention and tombstone to almost nothing; the route's memory is 900 s.
    let times = Times { retention: secs(1), tombstone: secs(0), ..TIMES };
    let at = ago(100);
    let completed = State::Completed { at, answer: answer(200) };
    let with = |first_sent| Record { times, origin: origin(first_sent), ..record(completed.clone()) };
    assert_eq!(with(None).view(NOW), View::Absent);
    let earlier = with(Some(at.minus(secs(50))));
    assert_eq!(earlier.forgotten_at(), at.plus(secs(900 + 300)), "from completion");
    assert_eq!(earlier.view(NOW), View::Expired, "no longer replayed, still known");
    let later = with(Some(at.plus(secs(200))));
    assert_eq!(later.forgotten_at(), at.plus(secs(200 + 900 + 300)), "from when it says it was sent");
}
