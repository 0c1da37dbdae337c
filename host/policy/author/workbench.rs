//! A component on the bench, and its verdict about one request.

use crate::engine::compiled::Compiled;
use crate::engine::digest::hex;
use crate::engine::shared::Engine;
use crate::interface::failure::Failure;
use crate::interface::v0_1::Part;
use crate::interface::{Plan, Verdict};
use crate::load::pipeline::{self, LoadError, LoadFault};
use crate::load::sample::{DecideOutcome, Sample};
use crate::load::steps::Steps;
use crate::load::vectors::{self, VectorFault, Vectors};
use crate::run::budget::CallBudget;
use crate::run::instance::{LinkedPolicy, settings_text};
use oncegate_config as config;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A component that was compiled and linked, but neither configured nor tested yet.
pub struct Workbench {
    pub(super) compiled: Arc<Compiled>,
    pub(super) program: LinkedPolicy,
    pub(super) budget: CallBudget,
    /// The budget of the requests of the host's own making, as at a load.
    pub(super) self_test_budget: CallBudget,
    pub(super) instances: config::Instances,
    pub(super) vectors: Option<Vectors>,
    pub(super) settings: Option<Map<String, Value>>,
}

impl std::fmt::Debug for Workbench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workbench({})", hex(&self.compiled.digest))
    }
}

/// The policy's verdict about one request, and its meaning for the gateway.
#[derive(Debug)]
pub struct DecideReport {
    /// The plan under the settings at hand.
    pub plan: Plan,
    /// The verdict; none: the plan has no interest in the method, and the gateway wouldn't ask.
    pub verdict: Option<Result<Verdict, Failure>>,
    /// The request can't be shown to the policy: the gateway would answer 400 without asking.
    pub unshowable: Option<String>,
    /// The value that each part of the key stands for, if the policy did not write it itself.
    pub key: Vec<(Part, Option<String>)>,
    /// The operation's id on a ledger whose secret is zeros: equal ids mean one operation, but a
    /// real ledger's ids are others.
    pub operation: Option<String>,
    /// The fingerprint on a ledger whose secret is zeros.
    pub fingerprint: Option<String>,
    /// Lines that the policy logged.
    pub log: Vec<String>,
    /// The time that `decide` took, on an instance that was just made.
    pub time: Duration,
}

impl Engine {
    /// Puts a component on the bench. Without `settings`, each test vector's own settings are used.
    pub fn workbench(
        &self,
        policy: &config::Policy,
        settings: Option<Map<String, Value>>,
    ) -> Result<Workbench, LoadError> {
        let component = pipeline::display_name(&policy.component);
        let mut steps = Steps::default();
        let open = |steps: &mut Steps| {
            let (compiled, program) = self.prepare(policy, steps)?;
            if let Some(settings) = &settings {
                pipeline::check_settings(&compiled, settings)?;
            }
            let section = compiled.inspected.vectors.as_deref();
            let vectors = section.map(vectors::read).transpose()?;
            let budget = CallBudget::loading(policy.time);
            let (self_test_budget, instances) = (CallBudget::off_worker(policy.time), policy.instances);
            Ok(Workbench { compiled, program, budget, self_test_budget, instances, vectors, settings })
        };
        open(&mut steps).map_err(|fault| LoadError {
            policy: Arc::clone(&policy.name),
            component,
            fault,
            steps: steps.into_vec(),
            faults: None,
        })
    }
}

impl Workbench {
    /// Takes other test vectors than the component's own.
    pub fn use_vectors(&mut self, section: &[u8]) -> Result<(), VectorFault> {
        self.vectors = Some(vectors::read(section)?);
        Ok(())
    }

    /// The policy's needs and promises under the settings at hand.
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

    pub(super) fn program_with(&self, settings: Option<&Map<String, Value>>) -> LinkedPolicy {
        match settings {
            Some(settings) => self.program.with_settings(&settings_text(settings)),
            None => self.program.clone(),
        }
    }

    /// Requests to try things with: those of the test vectors, under their own settings or the settings
    /// at hand.
    pub(super) fn subjects(&self) -> Result<Vec<VectorSubject<'_>>, VectorFault> {
        let Some(vectors) = &self.vectors else { return Ok(Vec::new()) };
        let subjects = vectors.cases.iter().filter(|case| !case.is_of_settings()).map(|case| {
            let settings = self.settings.as_ref().unwrap_or(&case.settings).clone();
            Ok(VectorSubject { name: case.name.clone(), settings, sample: case.sample()?, case })
        });
        subjects.collect()
    }
}

/// A request with the settings under which it is tried.
pub(super) struct VectorSubject<'w> {
    pub(super) name: String,
    pub(super) settings: Map<String, Value>,
    pub(super) sample: Sample,
    /// The test vector that it is from.
    pub(super) case: &'w vectors::Case,
}
