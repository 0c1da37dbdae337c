//! Whether a policy decides at all, and the same each time, tried before it serves: on requests of the host's own
//! making and on operations that the policy guarded lately. Test vectors try it, too, and a component may have none.

use crate::interface::failure::Failure;
use crate::interface::{PayloadWant, Plan, RequestField, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::run::budget::CallBudget;
use crate::run::instance::{Instance, LinkedPolicy};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use oncegate_config::Instances;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// The trial ends after this time; requests that it has not reached by then are not tried.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The most recent operations that are tried.
const RECENT_MAX: usize = 8;
/// How often an instance that is used again is asked about each request.
const TIMES: usize = 2;
/// Of the requests of the host's making, those with a value at each place that the plan names come first.
const WITH_VALUES: usize = 2;

/// A policy decided otherwise about the same request.
#[derive(Debug, thiserror::Error)]
#[error(
    "{method} {path} ({whence}), asked again, gets another verdict: a policy must decide by its arguments alone, or \
     duplicates run again"
)]
pub struct Impure {
    method: String,
    path: String,
    whence: &'static str,
}

/// What came of it where no verdict differed.
pub(crate) struct SelfTestReport {
    /// The requests that were tried.
    pub(crate) tried: usize,
    /// The first failure, if the policy failed on each request with a value at each place that its plan names. So it
    /// may fail on everything that it would guard.
    pub(crate) always_fails: Option<Failure>,
}

/// Asks the policy about each request on a fresh instance, and several times on one that is used for all where
/// `instances` are used again.
pub(crate) fn check(
    program: &LinkedPolicy,
    plan: &Plan,
    instances: Instances,
    recent: &[Sample],
    budget: CallBudget,
) -> Result<SelfTestReport, Impure> {
    let begun = Instant::now();
    let mut trial = PurityTrial { program, plan, budget, used: None };
    let recent = recent.iter().rev().take(RECENT_MAX).map(|sample| ("seen lately", sample.clone()));
    let made = made(plan).map(|sample| ("of the host's making", sample));
    let (mut tried, mut answered, mut failure) = (0, false, None);
    for (whence, sample) in made.into_iter().chain(recent) {
        if begun.elapsed() > TIME_MAX {
            break;
        }
        let alone = trial.ask_fresh(&sample);
        if tried < WITH_VALUES {
            answered |= alone.is_ok();
            failure = failure.or(alone.clone().err());
        }
        tried += 1;
        let asked_again = |_| match instances {
            Instances::Reuse => trial.ask_used(&sample),
            Instances::Fresh => trial.ask_fresh(&sample),
        };
        if (0..TIMES).map(asked_again).any(|again| are_at_odds(&alone, &again)) {
            let Sample { method, path, .. } = sample;
            return Err(Impure { method, path, whence });
        }
    }
    Ok(SelfTestReport { tried, always_fails: failure.filter(|_| !answered) })
}

/// What came of asking: the verdict, or none where the host wouldn't ask.
type Came = Result<Option<Verdict>, Failure>;

fn are_at_odds(one: &Came, other: &Came) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one != other,
        (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => !is_by_chance(failure),
        (Err(_), Err(_)) => false,
    }
}

/// Whether a limit was reached that may not be reached another time.
fn is_by_chance(failure: &Failure) -> bool {
    // An instance that is used again has less room left than a fresh one.
    matches!(failure, Failure::Memory(_)) || !failure.is_its_own()
}

/// A policy on trial, with the instance that is used again. One that failed or is worn is not used again, as in
/// service.
struct PurityTrial<'p> {
    program: &'p LinkedPolicy,
    plan: &'p Plan,
    budget: CallBudget,
    used: Option<Instance>,
}

impl PurityTrial<'_> {
    fn ask_fresh(&self, sample: &Sample) -> Came {
        self.ask(sample, &mut self.program.instance_of(self.plan, self.budget)?)
    }

    fn ask_used(&mut self, sample: &Sample) -> Came {
        let kept = self.used.take();
        let mut instance = kept.map_or_else(|| self.program.instance_of(self.plan, self.budget), Ok)?;
        let came = self.ask(sample, &mut instance);
        if came.is_ok() && !instance.is_worn() {
            self.used = Some(instance);
        }
        came
    }

    fn ask(&self, sample: &Sample, instance: &mut Instance) -> Came {
        match sample.ask(instance, self.plan, self.budget) {
            DecideOutcome::Decided(decided) => decided.map(Some),
            DecideOutcome::NotOfInterest | DecideOutcome::NotUtf8(_) => Ok(None),
        }
    }
}

/// Requests with what the plan asks for, with other values ([`WITH_VALUES`]), and without any of it.
fn made(plan: &Plan) -> [Sample; 3] {
    let call = json!({ "jsonrpc": "2.0", "id": "3f1c", "method": "charge", "params": { "amount": 1200 } });
    let event = json!({ "id": "evt_7", "type": "charge.paid", "data": [1, 2, { "a": null }] });
    [
        asking(plan, "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", None, call),
        asking(plan, "0192f3a4-7d1f-7f0e-9c5e-0a4f5f9b8f11", Some("a=1&b=2"), event),
        request(plan, None, HeaderMap::new(), Bytes::new()),
    ]
}

/// A request with this value at each place that the plan names.
fn asking(plan: &Plan, value: &'static str, query: Option<&str>, mut body: Value) -> Sample {
    let mut headers = HeaderMap::new();
    for field in &plan.request_fields {
        if let RequestField::Header(name) = field {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let PayloadWant::Pointers(pointers) = &plan.request_payload {
        pointers.iter().for_each(|pointer| put(&mut body, pointer, value.trim_matches('"')));
    }
    request(plan, query, headers, body.to_string().into())
}

fn request(plan: &Plan, query: Option<&str>, headers: HeaderMap, body: Bytes) -> Sample {
    let method = plan.methods.first().map_or("POST", String::as_str);
    let sample = Sample::of(method, Some("service.example"), "/v1/charges", query, headers, body);
    sample.by(Some("somebody".to_owned()), "all".to_owned())
}

/// Puts a value where the pointer leads, unless something is there.
fn put(document: &mut Value, pointer: &str, value: &str) {
    let mut at = document;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let Value::Object(members) = at else { return };
        at = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    if at.as_object().is_some_and(Map::is_empty) {
        *at = value.into();
    }
}
