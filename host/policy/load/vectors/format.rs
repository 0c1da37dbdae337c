//! The format of test vectors. `plugins/README.md` describes it to authors.

use super::expect::Expect;
use super::fault::{CASES_MAX, VectorFault};
use crate::interface::hooks::{Hook, HookArgument};
use crate::load::sample::Sample;
use crate::load::sample_answer::SampleAnswer;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::Disposition;
use serde::Deserialize;
use serde_json::Value;

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

/// Reads the section with the test vectors.
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
    /// The ledger's knowledge beside what the request says.
    #[serde(default)]
    pub(super) receipt: ReceiptText,
    /// The question whose answer `reading` reads; none: the policy's own question.
    pub(super) asked: Option<String>,
    answer: Option<AnswerText>,
    pub(super) problem: Option<ProblemText>,
    pub(super) expect: Expect,
}

fn default_route() -> String {
    "vectors".into()
}

/// Values of a receipt in place of those that the request and its guard give.
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

/// An answer: as text, or with the facts that text can't have.
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

/// An answer of the gateway's own: its code, or more of it.
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

impl Case {
    /// The case's request.
    pub(crate) fn sample(&self) -> Result<Sample, VectorFault> {
        let sample = Sample::parse(self.request.as_bytes());
        let sample = sample.map_err(|why| VectorFault::Request { case: self.name.clone(), why })?;
        Ok(sample.by(self.principal.clone(), self.route.clone()))
    }

    /// The hook that the vector counts for: `decide`, or another one.
    pub(crate) fn hook_name(&self) -> &'static str {
        match &self.expect {
            Expect::NoPlan(_) => "configure",
            expect => expect.called().map_or("decide", Hook::name),
        }
    }

    /// True if the case is about settings alone, and has no request.
    pub(crate) fn is_of_settings(&self) -> bool {
        matches!(self.expect, Expect::NoPlan(_))
    }

    /// The case's answer, if it has one.
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

    /// Checks that the case has what its expectation needs, and nothing without a meaning.
    fn check_form(&self) -> Result<(), VectorFault> {
        let expect = self.expect.name();
        let arguments = self.expect.called().map_or(&[][..], Hook::arguments);
        let takes = |argument| arguments.contains(&argument);
        let (answers, explains) = (takes(HookArgument::Reply), takes(HookArgument::Problem));
        let (asked, receives) = (takes(HookArgument::Asked), takes(HookArgument::Receipt));
        let settles = self.expect.called() == Some(Hook::Settle);
        let asks = !self.is_of_settings();
        let misfit = [
            ("request", !self.request.is_empty(), asks, asks),
            ("answer", self.answer.is_some(), answers, answers),
            ("problem", self.problem.is_some(), explains, explains),
            ("asked", self.asked.is_some(), asked, false),
            ("receipt", self.receipt.is_given(), receives, false),
            ("complete", self.is_cut(), settles, false),
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
