//! What the author of a policy asks before it goes into service: what is in a component, what it
//! says to one request, whether it keeps its promises, how long it takes.
//!
//! All of it goes through the pipeline and the limits of the gateway itself; nothing here knows
//! how a report is written.

mod checks;
mod hooks;
mod json;
mod purity;
mod timing;
mod variants;

pub use checks::{Check, PromiseReport};
pub use hooks::{HookOutcome, HookReport, Shown};
pub use timing::{Spread, Timing, Unmeasured, measure};

use crate::config;
use crate::policy::engine::compiled::Compiled;
use crate::policy::engine::digest::{digest, hex};
use crate::policy::engine::shared::Engine;
use crate::policy::interface::failure::Failure;
use crate::policy::interface::hooks::Hook;
use crate::policy::interface::v0_1::{Exports, Part};
use crate::policy::interface::{Plan, Verdict};
use crate::policy::load::pipeline::{self, LoadError, LoadFault};
use crate::policy::load::sample::{DecideOutcome, Sample};
use crate::policy::load::steps::Steps;
use crate::policy::load::vectors::{self, VectorFault, Vectors};
use crate::policy::run::budget::CallBudget;
use crate::policy::run::instance::{Instance, Program};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a component's file says of itself.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// Bytes of the file.
    pub size: usize,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// All that it exports.
    pub exports: Vec<String>,
    /// All that it imports.
    pub imports: Vec<String>,
    /// How many test vectors it carries; none: it carries no section of them.
    pub vectors: Option<Result<usize, VectorFault>>,
    /// Its hooks, each with the number of test vectors that are about it; `configure` only where some
    /// are about it alone.
    pub hooks: Vec<(&'static str, usize)>,
    /// The JSON Schema of its settings that it carries.
    pub settings_schema: Option<Value>,
}

/// Reads a component without compiling it.
pub fn anatomy(source: &config::ComponentSource) -> Result<Anatomy, LoadFault> {
    let bytes = pipeline::component_bytes(source)?;
    let inspected = crate::policy::load::inspect::inspect(&bytes)?;
    let vectors = inspected.vectors.as_deref().map(vectors::read);
    let none = Vectors::default();
    let hooks =
        counts(inspected.exports, vectors.as_ref().and_then(|read| read.as_ref().ok()).unwrap_or(&none));
    Ok(Anatomy {
        size: bytes.len(),
        sha256: hex(&digest(&bytes)),
        exports: inspected.export_names,
        imports: inspected.import_names,
        vectors: vectors.map(|read| read.map(|vectors| vectors.cases.len())),
        hooks,
        settings_schema: inspected
            .settings_schema
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok()),
    })
}

/// The hooks that are exported, and how many cases are about each; each case configures, so that
/// `configure` counts only where some are about it alone.
fn counts(exports: Exports, vectors: &Vectors) -> Vec<(&'static str, usize)> {
    let exported = Hook::ALL.into_iter().filter(|hook| hook.is_in(exports)).map(Hook::name);
    let count = |hook| vectors.cases.iter().filter(|case| case.hook_name() == hook).count();
    let all = ["configure", "decide"].into_iter().chain(exported).map(|hook| (hook, count(hook)));
    all.filter(|count| *count != ("configure", 0)).collect()
}

/// A component that was compiled and linked, but neither configured nor tested yet.
pub struct Workbench {
    compiled: Arc<Compiled>,
    program: Program,
    budget: CallBudget,
    vectors: Option<Vectors>,
    settings: Option<Map<String, Value>>,
}

impl std::fmt::Debug for Workbench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workbench({})", hex(&self.compiled.digest))
    }
}

/// What a policy said to one request, and what the gateway would make of it.
#[derive(Debug)]
pub struct DecideReport {
    /// The plan under the settings at hand.
    pub plan: Plan,
    /// The verdict; none: the plan has no interest in the method, and the gateway wouldn't ask.
    pub verdict: Option<Result<Verdict, Failure>>,
    /// The request can't be shown to the policy: the gateway would answer 400 without asking.
    pub unshowable: Option<String>,
    /// What each part of the key stands for, beside what the policy wrote itself.
    pub key: Vec<(Part, Option<String>)>,
    /// The operation's id on a ledger whose secret is zeros: equal ids mean one operation, but a
    /// real ledger's ids are others.
    pub operation: Option<String>,
    /// The fingerprint, likewise.
    pub fingerprint: Option<String>,
    /// Lines that it logged.
    pub log: Vec<String>,
    /// How long `decide` took, on an instance that was just made.
    pub time: Duration,
}

impl Engine {
    /// Puts a component on the bench. `settings` none: each test vector's own are used.
    pub fn workbench(
        &self,
        policy: &config::Policy,
        settings: Option<Map<String, Value>>,
    ) -> Result<Workbench, LoadError> {
        let component = pipeline::display_name(&policy.component);
        let mut steps = Steps::default();
        let open = |steps: &mut Steps| {
            let (compiled, program) = self.prepare(policy, steps)?;
            let section = compiled.inspected.vectors.as_deref();
            let vectors = section.map(vectors::read).transpose()?;
            let budget = CallBudget::loading(policy.time);
            Ok(Workbench { compiled, program, budget, vectors, settings })
        };
        open(&mut steps).map_err(|fault| LoadError {
            policy: Arc::clone(&policy.name),
            component,
            fault,
            steps: steps.into_vec(),
            settings: None,
        })
    }
}

impl Workbench {
    /// Takes other test vectors than those that the component carries.
    pub fn use_vectors(&mut self, section: &[u8]) -> Result<(), VectorFault> {
        self.vectors = Some(vectors::read(section)?);
        Ok(())
    }

    /// What the policy needs and promises under the settings at hand.
    pub fn plan(&self) -> Result<Plan, LoadFault> {
        let program = self.program_with(self.settings.as_ref());
        program.instance(self.budget).map(|(_, plan)| plan).map_err(pipeline::fault_of_start)
    }

    /// Asks a fresh instance about one request.
    pub fn run(&self, sample: &Sample) -> Result<DecideReport, LoadFault> {
        let program = self.program_with(self.settings.as_ref());
        let (mut instance, plan) = program.instance(self.budget).map_err(pipeline::fault_of_start)?;
        instance.collect_log();
        let begun = Instant::now();
        let asked = sample.ask(&mut instance, &plan, self.budget);
        let time = begun.elapsed();
        let (verdict, unshowable) = match asked {
            DecideOutcome::NotOfInterest => (None, None),
            DecideOutcome::NotUtf8(why) => (None, Some(why.to_string())),
            DecideOutcome::Decided(verdict) => (Some(verdict), None),
        };
        let (mut key, mut operation, mut fingerprint) = (Vec::new(), None, None);
        if let Some(Ok(Verdict::Guard(guard))) = &verdict {
            key = guard.key.iter().map(|part| (part.clone(), sample.value_of(part))).collect();
            operation = Some(sample.operation(&plan, &guard.key).to_string());
            fingerprint = Some(hex(&sample.fingerprint(&guard.fingerprint).hash));
        }
        let log = instance.take_log();
        Ok(DecideReport { plan, verdict, unshowable, key, operation, fingerprint, log, time })
    }

    fn program_with(&self, settings: Option<&Map<String, Value>>) -> Program {
        match settings {
            Some(settings) => self.program.with_settings(&pipeline::settings_text(settings)),
            None => self.program.clone(),
        }
    }

    /// Requests to try things with: those of the test vectors, under their own settings or those
    /// at hand.
    fn subjects(&self) -> Result<Vec<VectorSubject<'_>>, VectorFault> {
        let Some(vectors) = &self.vectors else { return Ok(Vec::new()) };
        let subjects = vectors.cases.iter().filter(|case| !case.is_of_settings()).map(|case| {
            let settings = self.settings.as_ref().unwrap_or(&case.settings).clone();
            Ok(VectorSubject { name: case.name.clone(), settings, sample: case.sample()?, case })
        });
        subjects.collect()
    }
}

/// A request with the settings under which it is tried.
struct VectorSubject<'w> {
    name: String,
    settings: Map<String, Value>,
    sample: Sample,
    /// The test vector that it is from.
    case: &'w vectors::Case,
}

/// Instances that are used again, one for each settings.
struct Desk<'w> {
    workbench: &'w Workbench,
    /// By the text of their settings.
    instances: std::collections::HashMap<String, (Instance, Plan)>,
}

impl<'w> Desk<'w> {
    fn new(workbench: &'w Workbench) -> Self {
        Self { workbench, instances: Default::default() }
    }

    /// Asks about a request. An `Err` is `configure`'s.
    fn ask(&mut self, settings: &Map<String, Value>, sample: &Sample) -> Result<VerdictDigest, Failure> {
        let text = pipeline::settings_text(settings);
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
    fn plan(&mut self, settings: &Map<String, Value>) -> Result<Plan, Failure> {
        let text = pipeline::settings_text(settings);
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

/// What counts of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
enum VerdictDigest {
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
    fn word(&self) -> String {
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

#[cfg(test)]
mod tests;
