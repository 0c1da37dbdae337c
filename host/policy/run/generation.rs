//! A generation: an activation of a policy.

use crate::engine::compiled::Compiled;
use crate::interface::Plan;
use crate::interface::failure::Failure;
use crate::interface::hooks::{Exports, Interface};
use crate::load::recent::Recent;
use crate::load::steps::Step;
use crate::run::budget::CallBudget;
use crate::run::instance::{Instance, LinkedPolicy};
use crate::run::slow_policy::{SlowPolicyDetector, ThreadQueue};
use crate::run::trial::{Caller, Trial};
use oncegate_config::Instances;
use oncegate_core::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A compiled component with its settings, plan and limits. Requests hold it to their end.
pub struct Generation {
    pub(crate) program: LinkedPolicy,
    pub(crate) plan: Plan,
    pub(crate) report: LoadReport,
    /// The limit of a call on a policy thread.
    pub(crate) time: Duration,
    pub(crate) slow_policy: SlowPolicyDetector,
    /// The host's own work on large documents.
    pub(crate) documents: ThreadQueue,
    fresh: AtomicBool,
    trial: OnceLock<Trial>,
    /// The steps behind its load, by which it came into force first.
    entry: OnceLock<Vec<Step>>,
}

/// The loaded policies, by name.
pub type Generations = BTreeMap<Arc<str>, Arc<Generation>>;

/// The facts of a generation since its load.
pub(crate) struct LoadReport {
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) key_epoch: u64,
    pub(crate) component: String,
    pub(crate) size: usize,
    pub(crate) exports: Exports,
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
    pub(crate) settings_schema: Option<String>,
    pub(crate) vectors: usize,
    /// The failure on the requests of the host's making, if all of them with values failed.
    pub(crate) always_fails: Option<Failure>,
    pub(crate) loaded_at: Timestamp,
    pub(crate) load_time: Duration,
    pub(crate) steps: Vec<Step>,
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) recent: Arc<Recent>,
}

impl Generation {
    pub(crate) fn new(
        program: LinkedPolicy,
        plan: Plan,
        report: LoadReport,
        time: Duration,
        instances: Instances,
        slow_calls: usize,
    ) -> Self {
        let fresh = AtomicBool::new(instances == Instances::Fresh);
        Self {
            program,
            plan,
            report,
            time,
            slow_policy: SlowPolicyDetector::new(slow_calls),
            documents: ThreadQueue::new(slow_calls),
            fresh,
            trial: OnceLock::new(),
            entry: OnceLock::new(),
        }
    }

    /// The policy's name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.program.policy
    }

    /// The generation's number, by a count of all generations of this process; never used twice.
    pub fn number(&self) -> u64 {
        self.report.number
    }

    /// The component's SHA-256, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.report.digest
    }

    /// The operator's number in the key space.
    pub fn key_epoch(&self) -> u64 {
        self.report.key_epoch
    }

    /// The policy's needs and promises.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The optional interfaces that it exports.
    pub fn exports(&self) -> Exports {
        self.report.exports
    }

    /// The settings that it was configured with.
    pub fn settings(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.report.settings
    }

    /// The JSON Schema of its settings that the component carries, as text.
    pub fn settings_schema(&self) -> Option<&str> {
        self.report.settings_schema.as_deref()
    }

    /// Bytes of the component.
    pub fn size(&self) -> usize {
        self.report.size
    }

    /// The time that its load took.
    pub fn load_time(&self) -> Duration {
        self.report.load_time
    }

    /// True if its keys and those of `other` are of one key space.
    pub fn shares_keys_with(&self, other: &Self) -> bool {
        let space = |of: &Self| (Arc::clone(of.name()), Arc::clone(&of.plan.key_schema), of.key_epoch());
        space(self) == space(other)
    }

    /// Begins its trial, because it has just taken another's place. It doesn't get a second trial.
    pub fn begin_trial(&self, length: Duration) {
        let _ = self.trial.set(Trial::new(length, Instant::now()));
    }

    /// Notes that a hook failed for this caller. True once: failures within the trial were so many and so
    /// widespread that the generation before should come back.
    pub fn failed(&self, failure: &Failure, caller: Caller) -> bool {
        self.trial.get().is_some_and(|trial| trial.failed(failure, caller, Instant::now()))
    }

    /// True if its trial has ended badly.
    pub fn is_condemned(&self) -> bool {
        self.trial.get().is_some_and(Trial::has_ended_badly)
    }

    /// The test vectors that its component carries.
    pub(crate) fn vectors(&self) -> Option<&[u8]> {
        self.report.compiled.inspected.vectors.as_deref()
    }

    /// Operations that its policy guarded lately, in this generation and those before.
    pub fn recent(&self) -> &Recent {
        &self.report.recent
    }

    /// The steps of its load.
    pub fn steps(&self) -> &[Step] {
        &self.report.steps
    }

    /// Notes the steps behind its load by which it came into force. What brings it back later doesn't count.
    pub fn entered(&self, steps: Vec<Step>) {
        let _ = self.entry.set(steps);
    }

    /// What its load found that is allowed and hardly meant.
    pub fn warning(&self) -> Option<String> {
        self.report.always_fails.as_ref().map(|failure| {
            format!(
                "policy `{}` ({}) fails on each request that the gateway made to try it: {failure}. If it fails on those \
                 of clients, too, they get 503 `policy-failed`; `oncegate policy run` asks it about one",
                self.name(),
                self.report.component
            )
        })
    }

    /// The summary that a list of policies shows.
    pub fn describe(&self) -> GenerationSummary {
        let LoadReport { number, digest, key_epoch, component, size, exports, settings, .. } = &self.report;
        GenerationSummary {
            name: self.name().to_string(),
            generation: *number,
            component: component.clone(),
            sha256: digest.clone(),
            size: *size,
            key_schema: self.plan.key_schema.to_string(),
            key_epoch: *key_epoch,
            exports: exports.iter().map(Interface::name).collect(),
            settings: settings.clone(),
            instances: if self.is_fresh() { "fresh" } else { "reuse" },
            slow: self.slow_policy.is_slow(),
            vectors: self.report.vectors,
            loaded_at: self.report.loaded_at.to_string(),
            steps: [self.steps(), self.entry.get().map_or(&[], Vec::as_slice)].concat(),
            load_ms: u64::try_from(self.load_time().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// True if each call gets an instance of its own.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Notes that the policy is not pure: from now on each call gets an instance of its own.
    pub(crate) fn distrust(&self) {
        if !self.fresh.swap(true, Ordering::Relaxed) {
            tracing::error!(
                policy = %self.name(),
                generation = self.number(),
                "the policy is not pure: a used and a fresh instance decided differently about the same \
                 operation. From now on each call gets a fresh instance; repair the policy, for its \
                 duplicates may have been missed"
            );
        }
    }

    pub(crate) fn instance(&self, budget: CallBudget) -> Result<Instance, Failure> {
        self.program.instance_of(&self.plan, budget)
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({} #{}, {})", self.name(), self.number(), self.digest())
    }
}

/// A generation as the admin interface lists it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the answer")]
pub struct GenerationSummary {
    pub name: String,
    pub generation: u64,
    pub component: String,
    pub sha256: String,
    pub size: usize,
    pub key_schema: String,
    pub key_epoch: u64,
    pub exports: Vec<&'static str>,
    pub settings: serde_json::Map<String, serde_json::Value>,
    pub instances: &'static str,
    pub slow: bool,
    pub vectors: usize,
    pub loaded_at: String,
    pub load_ms: u64,
    pub steps: Vec<Step>,
}
