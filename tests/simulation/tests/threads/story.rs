//! What happened to the operation under one key, as upstream and clients know it, and what may never happen.
//!
//! Its lock is the system's: it is never held where another thread may go on.

use bytes::Bytes;
use oncegate_core::{Answer, Record, Refusal, State};
use oncegate_ledger::Pursued;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub struct Story(Mutex<Told>);

#[derive(Clone, Debug, Default)]
struct Told {
    /// An execution is under way, or nobody knows how it ended.
    may_have_happened: bool,
    /// The answer that is on the record, or on its way there.
    answer: Option<Bytes>,
    /// Answers of executions that proved not to be applied.
    not_applied: BTreeSet<Bytes>,
    /// One of them had no answer for those who waited.
    not_shared: bool,
    /// Something was sent, and the record doesn't say what came of it: the execution was given up, or settled after
    /// its lease.
    unknown: bool,
    /// Answers that an operator had forgotten.
    forgotten: BTreeSet<Bytes>,
    /// An operator has the operation forgotten whenever it is finished.
    is_forgotten: bool,
}

/// What is not told any more to a request that begins now.
pub struct NeverAgain(BTreeSet<Bytes>);

impl Story {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }

    pub fn is_forgotten(&self) {
        self.told().is_forgotten = true;
    }

    pub fn forgot(&self, answer: Bytes) {
        self.told().forgotten.insert(answer);
    }

    pub fn begins(&self) -> NeverAgain {
        NeverAgain(self.told().forgotten.clone())
    }

    /// The request goes upstream.
    pub fn sends(&self) {
        let mut told = self.told();
        assert!(!told.may_have_happened, "two executions: {told:?}");
        assert!(told.answer.is_none() || told.is_forgotten, "executed after its answer: {told:?}");
        told.may_have_happened = true;
    }

    pub fn completes(&self, answer: &Bytes) {
        let mut told = self.told();
        told.may_have_happened = false;
        told.answer = Some(answer.clone());
    }

    pub fn proves_not_applied(&self, shared: Option<&Bytes>) {
        let mut told = self.told();
        told.may_have_happened = false;
        told.not_shared |= shared.is_none();
        told.not_applied.extend(shared.cloned());
    }

    pub fn settles_too_late(&self) {
        self.told().unknown = true;
    }

    pub fn is_given_up(&self) {
        self.told().unknown = true;
    }

    /// What a request was told. `slow`: times passed, so it may have waited in vain, and leases may have lapsed.
    pub fn tells(&self, result: &Pursued<()>, never_again: &NeverAgain, slow: bool) {
        let told = self.told();
        match result {
            Pursued::Executed(()) => {}
            Pursued::Replay { record, .. } => {
                let answer = answer(record).expect("an answer to replay");
                assert!(!never_again.0.contains(&answer), "what was forgotten came back: {told:?}");
                assert!(told.is_forgotten || told.answer == Some(answer), "another answer: {told:?}");
            }
            Pursued::Shared(answer) => assert!(told.not_applied.contains(&answer.body), "{told:?}"),
            Pursued::Refuse(Refusal::InFlight, _) => assert!(told.not_shared || slow, "{told:?}"),
            Pursued::Refuse(Refusal::Unknown, _) => {
                assert!(told.unknown || slow, "nothing is unknown: {told:?}")
            }
            other => panic!("{other:?}: {told:?}"),
        }
    }

    /// The record when all is over.
    pub fn stands(&self, record: Option<&Record>) {
        let told = self.told();
        match record.map(|record| &record.state) {
            None => assert!(told.is_forgotten || (told.answer.is_none() && !told.unknown), "lost: {told:?}"),
            Some(State::Completed { answer, .. }) => assert_eq!(told.answer.as_ref(), Some(&answer.body)),
            Some(State::Unknown { .. }) => assert!(told.unknown, "nothing is unknown: {told:?}"),
            Some(other) => panic!("{other:?}: {told:?}"),
        }
    }
}

pub fn answer(record: &Record) -> Option<Bytes> {
    match &record.state {
        State::Completed { answer, .. } => Some(answer.body.clone()),
        _ => None,
    }
}

/// An answer with this body.
pub fn answer_of(body: &Bytes) -> Answer {
    Answer { status: 201, body: body.clone(), ..Answer::default() }
}
