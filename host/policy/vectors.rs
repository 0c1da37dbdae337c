//! The self-test: test vectors that a component carries in its custom section `oncegate:vectors`,
//! run at each load on a fresh and on a used instance.
//!
//! ```json
//! { "version": 1,
//!   "cases": [
//!     { "name": "a key is found",
//!       "settings": { "from": ["header:idempotency-key"] },
//!       "route": "charges", "principal": "alice",
//!       "request": "POST /v1/charges?x=1 HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k1\r\n\r\n{\"a\":1}",
//!       "expect": { "guard": { "key": [{ "of": "method" }, { "text": "k1" }], "fingerprint": "request" } } },
//!     { "name": "no key", "request": "POST / HTTP/1.1\n\n", "expect": { "bypass": null } },
//!     { "name": "bad key", "request": "POST / HTTP/1.1\n\n",
//!       "expect": { "refuse": { "status": 400, "code": "key-malformed" } } } ],
//!   "same": [["a key is found", "…"]], "different": [["a key is found", "…"]] }
//! ```
//!
//! `settings` is `{}` where it is left out, `route` "vectors", `principal` nobody. The request is
//! HTTP/1.1 text whose body is all that follows the empty line. Of `guard` what is left out is not
//! compared: `key-schema`, `key`, `fingerprint` (`"request"`, `"key-only"`, `{"document": shape}`,
//! `{"parts": […]}`), `first-sent`. A part is `{"text": …}`, `{"bytes": [0, 255]}`, `{"of": "method"}`,
//! `{"document": {"keep": […], "drop": […]}}` or `"missing"`. `bypass` is the reason, or null for
//! any; a method that the plan has no interest in counts as bypassed. The cases of a group in `same`
//! must be guarded by one key, as the host computes it, those of one in `different` by a key each.

use super::failure::Failure;
use super::instance::{Instance, Program};
use super::limits::Allowance;
use super::sample::{Asked, Sample};
use super::{Attribute, FingerprintRule, Part, Plan, Shape, Verdict};
use oncegate_core::OperationId;
use serde::Deserialize;
use std::collections::HashMap;

const CASES_MAX: usize = 1000;

/// Why a component fails its own test vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum VectorFault {
    #[error("`oncegate:vectors` can't be read: {0}")]
    Format(String),
    #[error("`oncegate:vectors` has version {0}: this gateway reads version 1")]
    Version(u32),
    #[error("{0} cases, at most {CASES_MAX} are allowed")]
    TooMany(usize),
    #[error("case `{case}`: the request can't be read: {why}")]
    Request { case: String, why: String },
    #[error("case `{case}`: {failure}")]
    Failed { case: String, failure: Failure },
    #[error("case `{case}`: expected {expected}, found {found}")]
    Differs { case: String, expected: String, found: String },
    #[error("case `{case}`: a used instance decides differently from a fresh one: the policy is not pure")]
    Impure { case: String },
    #[error("`{group}` names the case `{case}`, which is not there or is not guarded")]
    Unkeyed { group: &'static str, case: String },
    #[error("cases `{first}` and `{second}` must have the same key and don't")]
    NotSame { first: String, second: String },
    #[error("cases `{first}` and `{second}` must have different keys and don't")]
    NotDifferent { first: String, second: String },
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vectors {
    #[serde(rename = "version")]
    _version: u32,
    pub(super) cases: Vec<Case>,
    #[serde(default)]
    same: Vec<Vec<String>>,
    #[serde(default)]
    different: Vec<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) settings: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "default_route")]
    route: String,
    #[serde(default)]
    principal: Option<String>,
    request: String,
    expect: Expect,
}

fn default_route() -> String {
    "vectors".into()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Expect {
    Bypass(Option<String>),
    Guard(ExpectGuard),
    Refuse { status: u16, code: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectGuard {
    key_schema: Option<String>,
    key: Option<Vec<PartText>>,
    fingerprint: Option<FingerprintText>,
    first_sent: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PartText {
    Text(String),
    Bytes(Vec<u8>),
    Of(AttributeText),
    Document(ShapeText),
    Missing,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AttributeText {
    Method,
    Authority,
    Path,
    Query,
    Body,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShapeText {
    keep: Vec<String>,
    drop: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FingerprintText {
    Request,
    Document(ShapeText),
    Parts(Vec<PartText>),
    KeyOnly,
}

/// Runs all vectors of `section`. Returns how many there are.
pub(super) fn run(section: &[u8], program: &Program, allowance: Allowance) -> Result<usize, VectorFault> {
    let vectors = read(section)?;
    let mut run = Run::new(program, allowance);
    vectors.cases.iter().try_for_each(|case| run.case(case))?;
    run.check_groups(&vectors)?;
    Ok(vectors.cases.len())
}

/// One pass through vectors.
pub(super) struct Run<'p, 'v> {
    program: &'p Program,
    allowance: Allowance,
    /// Instances that have decided something already, by their settings.
    used: HashMap<String, Instance>,
    keys: HashMap<&'v str, OperationId>,
}

impl<'p, 'v> Run<'p, 'v> {
    pub(super) fn new(program: &'p Program, allowance: Allowance) -> Self {
        Self { program, allowance, used: HashMap::new(), keys: HashMap::new() }
    }

    /// Asks a fresh and a used instance, and holds what they say against what is expected.
    pub(super) fn case(&mut self, case: &'v Case) -> Result<(), VectorFault> {
        let fault = |failure| VectorFault::Failed { case: case.name.clone(), failure };
        let sample = case.sample()?;
        let settings = super::load::settings_text(&case.settings);
        let program = self.program.with_settings(&settings);
        let (mut fresh, plan) = program.instance(self.allowance).map_err(fault)?;
        let first = case.decide(&mut fresh, &plan, &sample, self.allowance)?;
        case.check(&plan, first.as_ref())?;
        let mut worn = self.used.remove(&settings).unwrap_or(fresh);
        if case.decide(&mut worn, &plan, &sample, self.allowance)? != first {
            return Err(VectorFault::Impure { case: case.name.clone() });
        }
        self.used.insert(settings, worn);
        if let Some(Verdict::Guard(guard)) = first {
            self.keys.insert(case.name.as_str(), sample.operation(&plan, &guard.key));
        }
        Ok(())
    }

    /// Compares keys, when all cases were run.
    pub(super) fn check_groups(&self, vectors: &Vectors) -> Result<(), VectorFault> {
        check_groups(vectors, &self.keys)
    }
}

/// Reads the section.
pub(super) fn read(section: &[u8]) -> Result<Vectors, VectorFault> {
    let format = |error: serde_json::Error| VectorFault::Format(error.to_string());
    let Version { version } = serde_json::from_slice(section).map_err(format)?;
    if version != 1 {
        return Err(VectorFault::Version(version));
    }
    let vectors: Vectors = serde_json::from_slice(section).map_err(format)?;
    if vectors.cases.len() > CASES_MAX {
        return Err(VectorFault::TooMany(vectors.cases.len()));
    }
    Ok(vectors)
}

impl Case {
    /// The request.
    pub(super) fn sample(&self) -> Result<Sample, VectorFault> {
        let sample = Sample::parse(self.request.as_bytes());
        let sample = sample.map_err(|why| VectorFault::Request { case: self.name.clone(), why })?;
        Ok(sample.by(self.principal.clone(), self.route.clone()))
    }

    /// What the policy says; none where the host wouldn't ask it.
    fn decide(
        &self,
        instance: &mut Instance,
        plan: &Plan,
        sample: &Sample,
        allowance: Allowance,
    ) -> Result<Option<Verdict>, VectorFault> {
        match sample.ask(instance, plan, allowance) {
            Asked::NotOfInterest => Ok(None),
            Asked::NotUtf8(why) => {
                Err(VectorFault::Request { case: self.name.clone(), why: why.to_string() })
            }
            Asked::Said(verdict) => {
                let failed = |failure| VectorFault::Failed { case: self.name.clone(), failure };
                verdict.map(Some).map_err(failed)
            }
        }
    }

    fn check(&self, plan: &Plan, found: Option<&Verdict>) -> Result<(), VectorFault> {
        let fits = match (&self.expect, found) {
            (Expect::Bypass(None), None | Some(Verdict::Bypass(_))) => true,
            (Expect::Bypass(Some(reason)), Some(Verdict::Bypass(found))) => found == reason,
            (Expect::Refuse { status, code }, Some(Verdict::Refuse(refusal))) => {
                refusal.status == *status && refusal.code == *code
            }
            (Expect::Guard(expected), Some(Verdict::Guard(guard))) => {
                expected.key_schema.as_ref().is_none_or(|schema| **schema == *plan.key_schema)
                    && expected.key.as_ref().is_none_or(|key| parts_of(key) == guard.key)
                    && expected.fingerprint.as_ref().is_none_or(|rule| rule.meant() == guard.fingerprint)
                    && expected.first_sent.is_none_or(|sent| guard.first_sent == Some(sent))
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let found = match found {
            Some(verdict) => format!("{verdict:?} with the key-schema {:?}", plan.key_schema),
            None => "a method that the plan has no interest in".into(),
        };
        let expected = format!("{:?}", self.expect);
        Err(VectorFault::Differs { case: self.name.clone(), expected, found })
    }
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
    fn meant(&self) -> Shape {
        Shape { keep: self.keep.clone(), drop: self.drop.clone() }
    }
}

impl FingerprintText {
    fn meant(&self) -> FingerprintRule {
        match self {
            Self::Request => FingerprintRule::Request,
            Self::Document(shape) => FingerprintRule::Document(shape.meant()),
            Self::Parts(parts) => FingerprintRule::Parts(parts_of(parts)),
            Self::KeyOnly => FingerprintRule::KeyOnly,
        }
    }
}

fn check_groups(vectors: &Vectors, keys: &HashMap<&str, OperationId>) -> Result<(), VectorFault> {
    for (name, groups, wanted) in [("same", &vectors.same, true), ("different", &vectors.different, false)] {
        for group in groups {
            let mut seen: Vec<(&String, &OperationId)> = Vec::with_capacity(group.len());
            for case in group {
                let key = keys.get(case.as_str());
                let key = key.ok_or_else(|| VectorFault::Unkeyed { group: name, case: case.clone() })?;
                if let Some((other, _)) = seen.iter().find(|(_, other)| (*other == key) != wanted) {
                    let (first, second) = ((*other).clone(), case.clone());
                    return Err(match wanted {
                        true => VectorFault::NotSame { first, second },
                        false => VectorFault::NotDifferent { first, second },
                    });
                }
                seen.push((case, key));
            }
        }
    }
    Ok(())
}
