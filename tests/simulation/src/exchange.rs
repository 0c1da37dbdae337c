//! An execution's dealings with the upstream and the client, in the order that the real gateway has, too.

use crate::faults::Setting;
use crate::gateway::Asked;
use crate::process::Process;
use crate::store::SimStore;
use crate::upstream::{Answered, Call, Upstream, meaning};
use crate::world::{Event, Reply, World};
use bytes::Bytes;
use oncegate_core::{
    Answer, AnswerSummary, Disposition, Outcome, Record, Settlement, State, Times, UnknownReason,
};
use oncegate_keyspaces::ActiveSpaces;
use oncegate_ledger::{Claimed, Exchange, Exchanged, Permit, Unsettled};
use oncegate_upstream::{Attempted, Retry, attempts};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The report to the client of an execution.
pub enum Report {
    Answered(Reply),
    Lost(Claimed<SimStore>),
}

/// An execution's dealings with the upstream and the client.
pub struct Wire {
    pub process: Arc<Process>,
    pub world: Arc<World>,
    pub upstream: Arc<Upstream>,
    pub asked: Asked,
    /// The spaces by which the execution decides stay on the list as long as it executes.
    pub spaces: ActiveSpaces<u32>,
    pub client: oneshot::Sender<Report>,
}

/// The end of an execution, which its client is told when it is durable.
pub struct End {
    process: Arc<Process>,
    reply: Reply,
    client: oneshot::Sender<Report>,
}

/// How an attempt ended.
type Attempt = (Disposition, Result<Answered, UnknownReason>);

impl Exchange<SimStore> for Wire {
    type End = End;

    fn lost(self, claimed: Claimed<SimStore>) {
        let _ = self.client.send(Report::Lost(claimed));
    }

    async fn run(self, permit: &Permit<SimStore>) -> Exchanged<End> {
        let request = self.asked.request;
        self.world.note(Event::Executes { request });
        self.process.step("it has the claim").await;
        let retry = Retry { attempts: self.world.setting.attempts, repeats: self.world.setting.repeats() };
        let attempt = async |attempt| self.attempt(permit, attempt).await;
        let Attempted { joined: means, last: result } = attempts(retry, || permit.holds(), attempt).await;
        let reply = match result {
            Ok(Answered { content, token, .. }) => Reply::First { content, token, means },
            Err(_) => Reply::NoAnswer(means),
        };
        self.world.note(Event::Judged { request, means });
        let outcome = match (means, result) {
            (Disposition::NotApplied, _) => Outcome::NotApplied,
            (Disposition::Completed, Ok(answered)) => self.completed(&answered),
            (Disposition::Consumed, Ok(answered)) => self.consumed(&answered),
            (_, Err(reason)) => Outcome::Unknown(reason),
            (_, Ok(_)) => Outcome::Unknown(UnknownReason::Ambiguous),
        };
        self.process.step("about to settle").await;
        let shared = (means == Disposition::NotApplied).then(Arc::default);
        let settlement = self.settlement(outcome);
        let end = End { process: self.process, reply, client: self.client };
        Exchanged { settlement, shared, end }
    }

    fn release(end: End) {
        if !end.process.ends_at("it is settled") {
            let _ = end.client.send(Report::Answered(end.reply));
        }
    }

    fn withhold(end: End, _: Unsettled) {
        let _ = end.client.send(Report::Answered(Reply::Unrecorded));
    }
}

impl Wire {
    async fn attempt(&self, permit: &Permit<SimStore>, attempt: u32) -> Attempt {
        let Asked { request, operation, content } = self.asked;
        sleep(Duration::from_millis(1)).await;
        if self.world.happens(self.world.faults.unreachable) || !permit.holds() {
            self.world.say(|| format!("request {request} sends nothing"));
            return (Disposition::NotApplied, Err(UnknownReason::Broken));
        }
        // Between the last check and the first byte a process can still be held up.
        self.process.step("about to send").await;
        self.world.note(Event::Sent { request, attempt });
        let result =
            self.upstream.call(Call { id: Some(permit.id()), operation, content, request, attempt }).await;
        self.process.step("an answer, or none").await;
        let means = match &result {
            Ok(answered) => meaning(answered, &self.world.setting),
            Err(_) => Disposition::Unknown,
        };
        (means, result)
    }

    fn completed(&self, answered: &Answered) -> Outcome {
        if self.world.happens(self.world.setting.large) {
            return self.consumed(answered);
        }
        let (request, token) = (self.asked.request, answered.token);
        self.world.note(Event::Got { request, token, large: false });
        Outcome::Completed(answer(answered.content, token, self.world.setting.notes))
    }

    fn consumed(&self, answered: &Answered) -> Outcome {
        self.world.note(Event::Got { request: self.asked.request, token: answered.token, large: true });
        Outcome::Consumed(AnswerSummary { status: Some(201), ..AnswerSummary::default() })
    }

    /// The outcome with what the policy leaves on the record: a note, a shorter retention.
    fn settlement(&self, outcome: Outcome) -> Settlement {
        let Setting { notes, shortens, times, .. } = self.world.setting;
        let memo = notes.then(|| note(self.asked.content));
        let retention = self.world.happens(shortens).then(|| self.world.up_to(times.retention));
        if let Some(retention) = retention {
            self.world.goes_by(&Times { retention, ..times });
        }
        Settlement { outcome, memo, retention }
    }
}

/// The policy's note for an operation with this content.
fn note(content: u32) -> Arc<str> {
    format!("{content}").into()
}

/// The recorded form of an answer. `noted`: the record has the policy's note, too.
pub fn answer(content: u32, token: u32, noted: bool) -> Arc<Answer> {
    let body = [content.to_le_bytes(), token.to_le_bytes(), u32::from(noted).to_le_bytes()].concat();
    Arc::new(Answer { status: 201, body: Bytes::from(body), ..Answer::default() })
}

/// The replay of a record. With another operation's note, or without its own, it is nobody's answer.
pub fn replayed(record: &Record) -> Reply {
    let State::Completed { answer, .. } = &record.state else { panic!("only answers are replayed") };
    let number = |at: usize| u32::from_le_bytes(answer.body[at..at + 4].try_into().expect("four bytes"));
    let (content, token, noted) = (number(0), number(4), number(8) == 1);
    let fits = record.memo.as_ref().map_or(!noted, |memo| *memo == note(content));
    Reply::Replayed { content: if fits { content } else { u32::MAX }, token }
}
