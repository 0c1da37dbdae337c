//! How test vectors are written. `plugins/README.md` tells it to authors.

use super::VectorFault;
use crate::policy::interface::hooks::Hook;
use crate::policy::interface::v0_1::{Attribute, Part, Shape};
use crate::policy::interface::{FingerprintRule, Guard};
use crate::policy::load::sample::Sample;
use crate::policy::load::sample_answer::SampleAnswer;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::{Disposition, WhenUnknown, WhileRunning};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

pub(super) const CASES_MAX: usize = 1000;

#[derive(Deserialize)]
struct VectorsVersion {
    version: u32,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vectors {
    #[serde(rename = "version")]
    _version: u32,
    pub(crate) cases: Vec<Case>,
    #[serde(default)]
    pub(super) same: Vec<Vec<String>>,
    #[serde(default)]
    pub(super) different: Vec<Vec<String>>,
}

/// Reads the section.
pub(crate) fn read(section: &[u8]) -> Result<Vectors, VectorFault> {
    let format = |error: serde_json::Error| VectorFault::Format(error.to_string());
    let VectorsVersion { version } = serde_json::from_slice(section).map_err(format)?;
    if version != 1 {
        return Err(VectorFault::Version(version));
    }
    let vectors: Vectors = serde_json::from_slice(section).map_err(format)?;
    if vectors.cases.len() > CASES_MAX {
        return Err(VectorFault::TooMany(vectors.cases.len()));
    }
    vectors.cases.iter().try_for_each(Case::check_form)?;
    Ok(vectors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) settings: serde_json::Map<String, Value>,
    #[serde(default = "default_route")]
    route: String,
    #[serde(default)]
    principal: Option<String>,
    #[serde(default)]
    request: String,
    /// What the ledger knows beside what the request says.
    #[serde(default)]
    pub(super) receipt: ReceiptText,
    /// The question that `reading` reads the answer to; none: the policy's own.
    pub(super) asked: Option<String>,
    answer: Option<AnswerText>,
    pub(super) problem: Option<ProblemText>,
    pub(super) expect: Expect,
}

fn default_route() -> String {
    "vectors".into()
}

/// What a receipt has in place of what the request and its guard make of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ReceiptText {
    pub(super) memo: Option<String>,
    pub(super) attempts: Option<u32>,
    pub(super) first_attempt: Option<u32>,
}

impl ReceiptText {
    fn is_given(&self) -> bool {
        self.memo.is_some() || self.attempts.is_some() || self.first_attempt.is_some()
    }
}

/// An answer: as text, or with what text doesn't say.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AnswerText {
    Text(String),
    More(AnswerMore),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerMore {
    text: String,
    #[serde(default)]
    trailers: Vec<(String, String)>,
    #[serde(default = "yes")]
    complete: bool,
}

fn yes() -> bool {
    true
}

/// One of the gateway's own answers: its code, or more of it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ProblemText {
    Code(String),
    More(ProblemMore),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProblemMore {
    pub(super) code: String,
    pub(super) status: Option<u16>,
    pub(super) detail: Option<String>,
    pub(super) operation_id: Option<String>,
    pub(super) outcome: Option<DispositionText>,
    pub(super) retryable: Option<bool>,
    pub(super) retry_after_seconds: Option<u32>,
    pub(super) first_status: Option<u16>,
    pub(super) first_location: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DispositionText {
    Completed,
    Consumed,
    NotApplied,
    Unknown,
}

impl DispositionText {
    pub(super) fn meant(self) -> Disposition {
        match self {
            Self::Completed => Disposition::Completed,
            Self::Consumed => Disposition::Consumed,
            Self::NotApplied => Disposition::NotApplied,
            Self::Unknown => Disposition::Unknown,
        }
    }
}

/// What a case is about. What hooks say is compared as JSON, so it is kept so.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Expect {
    Bypass(Option<String>),
    Guard(ExpectGuard),
    Refuse { status: u16, code: String },
    Outcome(Value),
    Settle(Value),
    Question(Value),
    Reading(Value),
    Present(Value),
    Explain(Value),
    NoPlan(Option<String>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ExpectGuard {
    key_schema: Option<String>,
    key: Option<Vec<PartText>>,
    fingerprint: Option<FingerprintText>,
    first_sent: Option<u32>,
    memo: Option<String>,
    while_running: Option<WhileRunningText>,
    when_unknown: Option<WhenUnknownText>,
    retention_seconds: Option<u64>,
    tombstone_seconds: Option<u64>,
    forward: Option<Vec<(String, String)>>,
    labels: Option<Vec<(String, String)>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhileRunningText {
    RouteDefault,
    Reject,
    Wait,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhenUnknownText {
    RouteDefault,
    Hold,
    Probe,
    Resend,
}

impl ExpectGuard {
    /// The first of what is written that a guard under this key-schema hasn't: as it is written, and as
    /// it is.
    pub(super) fn difference(&self, key_schema: &str, guard: &Guard) -> Option<(String, String)> {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let forward = guard.forward.iter();
        let forward = forward.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        None.or_else(|| differs("key-schema", self.key_schema.as_deref(), key_schema))
            .or_else(|| differs("key", self.key.as_deref().map(parts_of), guard.key.clone()))
            .or_else(|| {
                let rule = self.fingerprint.as_ref().map(FingerprintText::meant);
                differs("fingerprint", rule, guard.fingerprint.clone())
            })
            .or_else(|| differs("first-sent", self.first_sent.map(Some), guard.first_sent))
            .or_else(|| differs("memo", self.memo.as_deref().map(Some), guard.memo.as_deref()))
            .or_else(|| {
                differs("while-running", self.while_running.map(|what| what.meant()), guard.while_running)
            })
            .or_else(|| {
                differs("when-unknown", self.when_unknown.map(|what| what.meant()), guard.when_unknown)
            })
            .or_else(|| {
                differs("retention-seconds", self.retention_seconds.map(Some), seconds(guard.retention))
            })
            .or_else(|| {
                differs("tombstone-seconds", self.tombstone_seconds.map(Some), seconds(guard.tombstone))
            })
            .or_else(|| differs("forward", self.forward.clone(), forward.collect()))
            .or_else(|| differs("labels", self.labels.clone(), guard.labels.clone()))
    }
}

fn differs<T: PartialEq + std::fmt::Debug>(
    member: &str,
    expected: Option<T>,
    found: T,
) -> Option<(String, String)> {
    let expected = expected.filter(|expected| *expected != found)?;
    Some((format!("the {member} {expected:?}"), format!("{found:?}")))
}

impl WhileRunningText {
    fn meant(self) -> Option<WhileRunning> {
        match self {
            Self::RouteDefault => None,
            Self::Reject => Some(WhileRunning::Reject),
            Self::Wait => Some(WhileRunning::Wait),
        }
    }
}

impl WhenUnknownText {
    fn meant(self) -> Option<WhenUnknown> {
        match self {
            Self::RouteDefault => None,
            Self::Hold => Some(WhenUnknown::Hold),
            Self::Probe => Some(WhenUnknown::Probe),
            Self::Resend => Some(WhenUnknown::Resend),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PartText {
    Text(String),
    Bytes(Vec<u8>),
    Of(AttributeText),
    Document(ShapeText),
    Missing,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AttributeText {
    Method,
    Authority,
    Path,
    Query,
    Body,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ShapeText {
    keep: Vec<String>,
    drop: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FingerprintText {
    Request,
    Document(ShapeText),
    Parts(Vec<PartText>),
    KeyOnly,
}

impl Expect {
    /// The name of what is expected.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bypass(_) => "bypass",
            Self::Guard(_) => "guard",
            Self::Refuse { .. } => "refuse",
            Self::Outcome(_) => "outcome",
            Self::Settle(_) => "settle",
            Self::Question(_) => "question",
            Self::Reading(_) => "reading",
            Self::Present(_) => "present",
            Self::Explain(_) => "explain",
            Self::NoPlan(_) => "no-plan",
        }
    }

    /// In words, but for what a guard must say.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Bypass(None) => "a bypass".into(),
            Self::Bypass(Some(reason)) => format!("a bypass ({reason})"),
            Self::Guard(_) => "a guard".into(),
            Self::Refuse { status, code } => format!("a refusal ({status} {code})"),
            Self::NoPlan(None) => "no plan".into(),
            Self::NoPlan(Some(words)) => format!("no plan ({words})"),
            Self::Outcome(_)
            | Self::Settle(_)
            | Self::Question(_)
            | Self::Reading(_)
            | Self::Present(_)
            | Self::Explain(_) => format!("a word of `{}`", self.name()),
        }
    }

    /// Whether it is about an answer or a problem, and `decide` may say what it will.
    pub(super) fn is_of_a_hook(&self) -> bool {
        !matches!(self, Self::Bypass(_) | Self::Guard(_) | Self::Refuse { .. } | Self::NoPlan(_))
    }

    /// The hook that must be exported for it; none: `decide` says it, or the plan may.
    pub(super) fn hook(&self) -> Option<Hook> {
        match self {
            Self::Bypass(_) | Self::Guard(_) | Self::Refuse { .. } | Self::Outcome(_) | Self::NoPlan(_) => {
                None
            }
            Self::Settle(_) => Some(Hook::Settle),
            Self::Question(_) => Some(Hook::Question),
            Self::Reading(_) => Some(Hook::Reading),
            Self::Present(_) => Some(Hook::Present),
            Self::Explain(_) => Some(Hook::Explain),
        }
    }
}

impl Case {
    /// The request.
    pub(crate) fn sample(&self) -> Result<Sample, VectorFault> {
        let sample = Sample::parse(self.request.as_bytes());
        let sample = sample.map_err(|why| VectorFault::Request { case: self.name.clone(), why })?;
        Ok(sample.by(self.principal.clone(), self.route.clone()))
    }

    /// What the vector counts for: `decide`, or one of the other hooks.
    pub(crate) fn hook_name(&self) -> &'static str {
        match &self.expect {
            Expect::Outcome(_) => "settle",
            Expect::NoPlan(_) => "configure",
            expect => expect.hook().map_or("decide", Hook::name),
        }
    }

    /// Whether it is about settings alone, and has no request.
    pub(crate) fn is_of_settings(&self) -> bool {
        matches!(self.expect, Expect::NoPlan(_))
    }

    /// The answer, where there is one.
    pub(super) fn answer(&self) -> Result<Option<SampleAnswer>, VectorFault> {
        let fault = |why: String| VectorFault::Answer { case: self.name.clone(), why };
        let (text, more) = match &self.answer {
            None => return Ok(None),
            Some(AnswerText::Text(text)) => (text, None),
            Some(AnswerText::More(more)) => (&more.text, Some(more)),
        };
        let mut answer = SampleAnswer::parse(text.as_bytes()).map_err(fault)?;
        if let Some(more) = more {
            answer.complete = more.complete;
            answer.trailers = trailers(&more.trailers).map_err(fault)?;
        }
        Ok(Some(answer))
    }

    fn is_cut(&self) -> bool {
        matches!(&self.answer, Some(AnswerText::More(more)) if !more.complete)
    }

    /// Whether it has what its expectation needs, and nothing that would mean nothing.
    fn check_form(&self) -> Result<(), VectorFault> {
        let expect = self.expect.name();
        let (answers, reads, explains) = match &self.expect {
            Expect::Bypass(_)
            | Expect::Guard(_)
            | Expect::Refuse { .. }
            | Expect::NoPlan(_)
            | Expect::Question(_) => (false, false, false),
            Expect::Outcome(_) | Expect::Settle(_) | Expect::Present(_) => (true, false, false),
            Expect::Reading(_) => (true, true, false),
            Expect::Explain(_) => (false, false, true),
        };
        let receives = answers || matches!(self.expect, Expect::Question(_));
        let asks = !self.is_of_settings();
        let misfit = [
            ("request", !self.request.is_empty(), asks, asks),
            ("answer", self.answer.is_some(), answers, answers),
            ("problem", self.problem.is_some(), explains, explains),
            ("asked", self.asked.is_some(), reads, false),
            ("receipt", self.receipt.is_given(), receives, false),
            ("complete", self.is_cut(), matches!(self.expect, Expect::Outcome(_) | Expect::Settle(_)), false),
        ]
        .into_iter()
        .find_map(|(member, there, may, must)| match (there, may, must) {
            (true, false, _) => Some(format!("`{member}` says nothing to a case that expects `{expect}`")),
            (false, _, true) => Some(format!("a case that expects `{expect}` needs `{member}`")),
            _ => None,
        });
        match misfit {
            Some(why) => Err(VectorFault::Form { case: self.name.clone(), why }),
            None => Ok(()),
        }
    }
}

fn trailers(pairs: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut trailers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        trailers.append(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    Ok(trailers)
}

fn parts_of(parts: &[PartText]) -> Vec<Part> {
    let part = |part: &PartText| match part {
        PartText::Text(text) => Part::Text(text.clone()),
        PartText::Bytes(bytes) => Part::Bytes(bytes.clone()),
        PartText::Of(AttributeText::Method) => Part::Of(Attribute::Method),
        PartText::Of(AttributeText::Authority) => Part::Of(Attribute::Authority),
        PartText::Of(AttributeText::Path) => Part::Of(Attribute::Path),
        PartText::Of(AttributeText::Query) => Part::Of(Attribute::Query),
        PartText::Of(AttributeText::Body) => Part::Of(Attribute::Body),
        PartText::Document(shape) => Part::Document(shape.meant()),
        PartText::Missing => Part::Missing,
    };
    parts.iter().map(part).collect()
}

impl ShapeText {
    pub(super) fn meant(&self) -> Shape {
        Shape { keep: self.keep.clone(), drop: self.drop.clone() }
    }
}

impl FingerprintText {
    pub(super) fn meant(&self) -> FingerprintRule {
        match self {
            Self::Request => FingerprintRule::Request,
            Self::Document(shape) => FingerprintRule::Document(shape.meant()),
            Self::Parts(parts) => FingerprintRule::Parts(parts_of(parts)),
            Self::KeyOnly => FingerprintRule::KeyOnly,
        }
    }
}
