//! The expectation of a case: `{ NAME: what is expected }`.

use super::guard::ExpectGuard;
use crate::interface::hooks::Hook;
use serde::Deserialize;
use serde::de::{Deserializer, EnumAccess, Error as _, VariantAccess as _, Visitor};
use serde_json::Value;

/// The expectation of a case. The results of hooks are compared as JSON, so they are kept as JSON.
#[derive(Debug)]
pub(super) enum Expect {
    Bypass(Option<String>),
    Guard(ExpectGuard),
    Refuse {
        status: u16,
        code: String,
    },
    /// The meaning of an answer, whether the plan or `settle` states it.
    Outcome(Value),
    /// The result of this hook.
    Hook(Hook, Value),
    NoPlan(Option<String>),
}

/// The names, in the order in which an error lists them.
const NAMES: [&str; 5 + Hook::ALL.len()] = {
    let mut names = ["bypass", "guard", "refuse", "outcome", "", "", "", "", "", "no-plan"];
    let mut at = 0;
    while at < Hook::ALL.len() {
        names[4 + at] = Hook::ALL[at].name();
        at += 1;
    }
    names
};

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Expect", &NAMES, ExpectVisitor)
    }
}

struct ExpectVisitor;

impl<'de> Visitor<'de> for ExpectVisitor {
    type Value = Expect;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("enum Expect")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Expect, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Refuse {
            status: u16,
            code: String,
        }
        let (name, content) = data.variant::<String>()?;
        Ok(match name.as_str() {
            "bypass" => Expect::Bypass(content.newtype_variant()?),
            "guard" => Expect::Guard(content.newtype_variant()?),
            "refuse" => {
                let Refuse { status, code } = content.newtype_variant()?;
                Expect::Refuse { status, code }
            }
            "outcome" => Expect::Outcome(content.newtype_variant()?),
            "no-plan" => Expect::NoPlan(content.newtype_variant()?),
            name => match Hook::ALL.into_iter().find(|hook| hook.name() == name) {
                Some(hook) => Expect::Hook(hook, content.newtype_variant()?),
                None => return Err(A::Error::unknown_variant(name, &NAMES)),
            },
        })
    }
}

impl Expect {
    /// The name of the expectation.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bypass(_) => "bypass",
            Self::Guard(_) => "guard",
            Self::Refuse { .. } => "refuse",
            Self::Outcome(_) => "outcome",
            Self::Hook(hook, _) => hook.name(),
            Self::NoPlan(_) => "no-plan",
        }
    }

    /// The expectation in words, except for what a guard must say.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Bypass(None) => "a bypass".into(),
            Self::Bypass(Some(reason)) => format!("a bypass ({reason})"),
            Self::Guard(_) => "a guard".into(),
            Self::Refuse { status, code } => format!("a refusal ({status} {code})"),
            Self::NoPlan(None) => "no plan".into(),
            Self::NoPlan(Some(words)) => format!("no plan ({words})"),
            Self::Outcome(_) | Self::Hook(..) => format!("a word of `{}`", self.name()),
        }
    }

    /// The hook that must be exported for the case; none: `decide` answers it, or the plan may.
    pub(super) fn hook(&self) -> Option<Hook> {
        if let Self::Hook(hook, _) = self { Some(*hook) } else { None }
    }

    /// The hook that is called for the case beside `decide`. `settle` may state the meaning of an answer.
    pub(super) fn called(&self) -> Option<Hook> {
        match self {
            Self::Hook(hook, _) => Some(*hook),
            Self::Outcome(_) => Some(Hook::Settle),
            Self::Bypass(_) | Self::Guard(_) | Self::Refuse { .. } | Self::NoPlan(_) => None,
        }
    }

    /// The value that is expected of a hook, or as the meaning of an answer.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Outcome(value) | Self::Hook(_, value) => Some(value),
            Self::Bypass(_) | Self::Guard(_) | Self::Refuse { .. } | Self::NoPlan(_) => None,
        }
    }
}
