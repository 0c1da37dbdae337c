//! Instances for many requests, and the parts of their verdicts that count.

use super::workbench::Workbench;
use crate::engine::digest::hex;
use crate::interface::failure::Failure;
use crate::interface::{Plan, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::run::instance::{Instance, settings_text};
use serde_json::{Map, Value};

/// Instances that are used again, one for each set of settings.
pub(super) struct Desk<'w> {
    workbench: &'w Workbench,
    /// The instances by the text of their settings.
    instances: std::collections::HashMap<String, (Instance, Plan)>,
}

impl<'w> Desk<'w> {
    pub(super) fn new(workbench: &'w Workbench) -> Self {
        Self { workbench, instances: Default::default() }
    }

    /// Asks about a request. An `Err` is a failure of `configure`.
    pub(super) fn ask(
        &mut self,
        settings: &Map<String, Value>,
        sample: &Sample,
    ) -> Result<VerdictDigest, Failure> {
        let text = settings_text(settings);
        let (mut instance, plan) = match self.instances.remove(&text) {
            Some(there) => there,
            None => {
                let program = self.workbench.program.with_settings(&text);
                let (mut instance, plan) = program.instance(self.workbench.budget)?;
                instance.collect_log();
                (instance, plan)
            }
        };
        let decision = match sample.ask(&mut instance, &plan, self.workbench.budget) {
            DecideOutcome::NotOfInterest => VerdictDigest::Unasked,
            DecideOutcome::NotUtf8(_) => VerdictDigest::Unshown,
            DecideOutcome::Decided(Err(failure)) => {
                return Ok(VerdictDigest::Failed(failure));
            }
            DecideOutcome::Decided(Ok(Verdict::Bypass(_))) => VerdictDigest::Bypass,
            DecideOutcome::Decided(Ok(Verdict::Refuse(refusal))) => VerdictDigest::Refuse(refusal.code),
            DecideOutcome::Decided(Ok(Verdict::Guard(guard))) => VerdictDigest::Guard {
                key: sample.operation(&plan, &guard.key).to_string(),
                fingerprint: hex(&sample.fingerprint(&guard.fingerprint).hash),
            },
        };
        instance.take_log();
        if !instance.is_worn() {
            self.instances.insert(text, (instance, plan));
        }
        Ok(decision)
    }

    /// The plan under these settings.
    pub(super) fn plan(&mut self, settings: &Map<String, Value>) -> Result<Plan, Failure> {
        let text = settings_text(settings);
        if let Some((_, plan)) = self.instances.get(&text) {
            return Ok(plan.clone());
        }
        let program = self.workbench.program.with_settings(&text);
        let (mut instance, plan) = program.instance(self.workbench.budget)?;
        instance.collect_log();
        self.instances.insert(text, (instance, plan.clone()));
        Ok(plan)
    }
}

/// The parts of a verdict that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VerdictDigest {
    /// The plan has no interest in the method.
    Unasked,
    /// A declared field isn't UTF-8.
    Unshown,
    Bypass,
    Refuse(String),
    Guard {
        key: String,
        fingerprint: String,
    },
    Failed(Failure),
}

impl VerdictDigest {
    pub(super) fn word(&self) -> String {
        match self {
            Self::Unasked => "a method that the plan has no interest in".into(),
            Self::Unshown => "a field that is not UTF-8".into(),
            Self::Bypass => "a bypass".into(),
            Self::Refuse(code) => format!("a refusal ({code})"),
            Self::Guard { key, .. } => format!("the operation {}", key.get(..12).unwrap_or(key)),
            Self::Failed(failure) => failure.to_string(),
        }
    }
}
