//! The guard that a case expects.

use crate::interface::v0_1::{Attribute, Part, Shape};
use crate::interface::{FingerprintRule, Guard};
use oncegate_core::{WhenUnknown, WhileRunning};
use serde::Deserialize;
use std::time::Duration;

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
    unvouched: Option<bool>,
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
    /// The first written member that a guard under this key-schema doesn't have: as it is written, and as it
    /// is.
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
            .or_else(|| differs("unvouched", self.unvouched, guard.unvouched))
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
