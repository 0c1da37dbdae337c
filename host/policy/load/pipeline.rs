//! The pipeline from a configuration's policy to a generation. It blocks, so it never runs on a worker. Any
//! failure leaves the active generation alone.

use crate::engine::compiled::Compiled;
use crate::engine::digest::{digest, hex};
use crate::engine::limits::COMPONENT_BYTES_MAX;
use crate::engine::shared::Engine;
use crate::interface::failure::{Failure, one_line};
use crate::interface::hooks::Interface;
use crate::interface::v0_1::Indices;
use crate::interface::wasi;
use crate::load::builtin;
use crate::load::inspect::{Unfit, inspect};
use crate::load::purity::{self, Impure};
use crate::load::schema;
use crate::load::steps::{Step, Steps};
use crate::load::vectors::{self, VectorFault};
use crate::run::budget::CallBudget;
use crate::run::generation::{Generation, LoadReport};
use crate::run::instance::{LinkedPolicy, settings_text};
use oncegate_config::{self as config, ComponentSource, SettingFault};
use oncegate_core::{Timestamp, WhenUnknown};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use wasmtime::component::Component;

/// A policy could not be loaded.
#[derive(Debug, thiserror::Error)]
pub struct LoadError {
    /// The policy's name in the configuration.
    pub policy: Arc<str>,
    /// The policy's component, as the configuration says.
    pub component: String,
    /// The fault that ended the load.
    pub fault: LoadFault,
    /// The steps that were taken; the last is the one that failed.
    pub steps: Vec<Step>,
    /// The fault, or each wrong setting, with its place in the configuration, if that was looked up.
    pub faults: Option<config::Faults>,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy `{}` ({}): ", self.policy, self.component)?;
        match (&self.fault, &self.faults) {
            (LoadFault::Setting(_), Some(faults)) => write!(f, "has wrong settings\n{faults}"),
            (fault, _) => fault.fmt(f),
        }
    }
}

impl LoadError {
    /// Adds the faults' places in the configuration that they are from, and their remedies.
    #[must_use]
    pub fn located(mut self, config: &config::Config) -> Self {
        self.faults = Some(match &self.fault {
            LoadFault::Setting(faults) => config.settings.faults(&self.policy, faults),
            fault => config::Faults(vec![config::Fault {
                place: config.settings.component(&self.policy),
                key: format!("policies.{}.component", self.policy),
                problem: self.to_string(),
                help: fault.help().to_owned(),
            }]),
        });
        self
    }
}

/// The fault of a policy that can't be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum LoadFault {
    #[error("can't be read: {}", config::io_words(.0))]
    Read(#[from] io::Error),
    #[error("is {0}, not a file: `component` names a .wasm file")]
    NotAFile(&'static str),
    #[error("is larger than {} MiB", COMPONENT_BYTES_MAX >> 20)]
    TooLarge,
    #[error("there is no such built-in policy; there are: {0}")]
    UnknownBuiltin(String),
    #[error("its SHA-256 is {found}, `sha256` says {pinned}: another file than the one that was reviewed")]
    Digest { pinned: String, found: String },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("doesn't compile: {0}")]
    Compile(String),
    #[error("is not compiled after {} s: it is too large or made to be slow", .0.as_secs())]
    CompileTime(Duration),
    #[error("earlier components still compile: try again when they are done")]
    CompilersBusy,
    #[error("doesn't fit the interface of version 0.1: {0}; rebuild it with `wit/v0.1`")]
    Link(String),
    #[error("can't be started: {0}")]
    Start(Failure),
    #[error("has wrong settings: {}", describe(.0))]
    Setting(Vec<SettingFault>),
    #[error("refuses its settings: {0}")]
    Settings(String),
    #[error("`configure` failed: {0}")]
    Configure(Failure),
    #[error("fails its own test vectors: {0}")]
    SelfTest(#[from] VectorFault),
    #[error("is not pure: {0}")]
    Impure(#[from] Impure),
    #[error(
        "doesn't export `oncegate:policy/resolution`, and route `{0}` has `when_unknown = \"probe\"`: take a policy \
         that exports it, or say `when_unknown = \"hold\"`"
    )]
    NoResolution(Arc<str>),
}

impl LoadFault {
    /// The remedy.
    fn help(&self) -> &'static str {
        match self {
            Self::Read(_) | Self::NotAFile(_) => {
                "name a .wasm file that this user may read; a path in the configuration file starts from its folder"
            }
            Self::UnknownBuiltin(_) => "name one of these, or a .wasm file",
            Self::Digest { .. } => {
                "put the reviewed file back, or review this one and write its digest in `sha256`"
            }
            Self::TooLarge | Self::CompileTime(_) => {
                "build it without debug information and with fewer dependencies"
            }
            Self::CompilersBusy => "try again in a moment",
            Self::Unfit(_) | Self::Compile(_) | Self::Link(_) => {
                "build it with `oncegate policy build`; `oncegate policy inspect FILE` says what it has"
            }
            Self::Start(_) | Self::Configure(_) => {
                "`oncegate policy test FILE` shows where it fails; what it may take is in the policy's `limits`"
            }
            Self::Setting(_) | Self::Settings(_) => {
                "change the policy's `settings`: `oncegate policy inspect FILE` says which it takes"
            }
            Self::SelfTest(_) => {
                "`oncegate policy test FILE` shows each vector: mend the component or the vector"
            }
            Self::Impure(_) => {
                "keep nothing from one call to the next; `oncegate policy test FILE` tries it, too"
            }
            Self::NoResolution(_) => "`oncegate policy inspect FILE` says what a component exports",
        }
    }
}

impl Generation {
    /// Checks that the generation can do what this route asks of its policy.
    pub fn fits(&self, route: &config::RouteConfig) -> Result<(), LoadError> {
        if route.when_unknown != WhenUnknown::Probe || self.exports().has(Interface::Resolution) {
            return Ok(());
        }
        Err(LoadError {
            policy: Arc::clone(self.name()),
            component: self.report.component.clone(),
            fault: LoadFault::NoResolution(route.name.clone()),
            steps: self.report.steps.clone(),
            faults: None,
        })
    }
}

/// Refuses settings that the component's schema, if it carries one, doesn't take.
pub(crate) fn check_settings(compiled: &Compiled, settings: &Map<String, Value>) -> Result<(), LoadFault> {
    let Some(schema) = &compiled.inspected.settings_schema else { return Ok(()) };
    match schema::check(schema, settings) {
        faults if faults.is_empty() => Ok(()),
        faults => Err(LoadFault::Setting(faults)),
    }
}

impl Engine {
    /// Loads a policy: reads, checks, compiles, configures and tests it. Blocks for as long as the
    /// compiler takes.
    pub fn load(self: &Arc<Self>, config: &config::Policy) -> Result<Arc<Generation>, LoadError> {
        let component = display_name(&config.component);
        let mut steps = Steps::default();
        self.try_load(config, &component, &mut steps).map_err(|fault| LoadError {
            policy: Arc::clone(&config.name),
            component,
            fault,
            steps: steps.into_vec(),
            faults: None,
        })
    }

    fn try_load(
        &self,
        config: &config::Policy,
        component: &str,
        steps: &mut Steps,
    ) -> Result<Arc<Generation>, LoadFault> {
        let start = Instant::now();
        let (compiled, program) = self.prepare(config, steps)?;
        let budget = CallBudget::loading(config.time);
        steps.take("settings", || check_settings(&compiled, &config.settings))?;
        let configured = steps.take("configure", || program.instance(budget).map_err(fault_of_start));
        let (_, plan) = configured?;
        let recent = self.recent(&config.name);
        let (vectors, trial) = steps.take("self-test", || {
            let vectors = match &compiled.inspected.vectors {
                Some(section) => vectors::run(section, &program, compiled.inspected.exports, budget)?,
                None => 0,
            };
            // A call that comes to its limit proves nothing, so the limit needn't be that of a load.
            let budget = CallBudget::off_worker(config.time);
            let trial = purity::check(&program, &plan, config.instances, &recent.samples(), budget)?;
            Ok::<_, LoadFault>((vectors, trial))
        })?;
        steps.note(format!("{vectors} vectors"));
        let report = LoadReport {
            number: self.next_number(),
            digest: hex(&compiled.digest),
            key_epoch: config.key_epoch,
            component: component.into(),
            size: compiled.size,
            exports: compiled.inspected.exports,
            settings: config.settings.clone(),
            settings_schema: compiled.inspected.settings_schema.clone(),
            vectors,
            always_fails: trial.always_fails,
            loaded_at: now(),
            load_time: start.elapsed(),
            steps: steps.clone().into_vec(),
            recent,
            compiled,
        };
        let slow_calls = self.slow_calls();
        Ok(Arc::new(Generation::new(program, plan, report, config.time, config.instances, slow_calls)))
    }

    /// Goes through the steps before anything of the component runs: read, pinned, inspected, compiled,
    /// linked.
    pub(crate) fn prepare(
        &self,
        config: &config::Policy,
        steps: &mut Steps,
    ) -> Result<(Arc<Compiled>, LinkedPolicy), LoadFault> {
        let bytes = steps.take("read", || component_bytes(&config.component))?;
        let digest = digest(&bytes);
        steps.take("digest", || match config.sha256.filter(|pinned| *pinned != digest) {
            Some(pinned) => Err(LoadFault::Digest { pinned: hex(&pinned), found: hex(&digest) }),
            None => Ok(()),
        })?;
        let compiled = self.compile(bytes, digest, steps)?;
        let program = steps.take("link", || self.link(config, &compiled))?;
        Ok((compiled, program))
    }

    fn compile(
        &self,
        bytes: Cow<'static, [u8]>,
        digest: [u8; 32],
        steps: &mut Steps,
    ) -> Result<Arc<Compiled>, LoadFault> {
        if let Some(compiled) = self.compiled(&digest) {
            return steps.take("compile", || Ok(compiled)).inspect(|_| steps.note("compiled before"));
        }
        let inspected = steps.take("inspect", || inspect(&bytes))?;
        let size = bytes.len();
        let (component, note) = steps.take("compile", || {
            if let Some(component) = self.code_cache().and_then(|cache| cache.load(self.wasm(), &digest)) {
                return Ok((component, "from the data folder"));
            }
            let component =
                compile_in_time(self.wasm().clone(), bytes, self.compilers(), self.compile_time())?;
            if let Some(cache) = self.code_cache() {
                cache.keep(self.wasm(), &digest, &component);
            }
            Ok::<_, LoadFault>((component, "compiled"))
        })?;
        steps.note(note);
        let compiled = Arc::new(Compiled { digest, component, inspected, size });
        self.keep_compiled(Arc::clone(&compiled));
        Ok(compiled)
    }

    fn link(&self, config: &config::Policy, compiled: &Compiled) -> Result<LinkedPolicy, LoadFault> {
        let link = |error: wasmtime::Error| LoadFault::Link(one_line(&error));
        let with_wasi = wasi::linker_for(self.linker(), &compiled.component).map_err(link)?;
        let linker = with_wasi.as_ref().unwrap_or(self.linker());
        let component = linker.instantiate_pre(&compiled.component).map_err(link)?;
        let indices = Indices::new(&component, compiled.inspected.exports).map_err(link)?;
        Ok(LinkedPolicy {
            policy: Arc::clone(&config.name),
            component,
            indices: Arc::new(indices),
            settings: settings_text(&config.settings).into(),
            memory: config.memory,
            clock: Arc::clone(self.clock()),
        })
    }
}

fn describe(faults: &[SettingFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

pub(crate) fn fault_of_start(failure: Failure) -> LoadFault {
    if let Failure::Err(why) = failure {
        return LoadFault::Settings(why);
    }
    match failure.kind() {
        "instantiate" => LoadFault::Start(failure),
        _ => LoadFault::Configure(failure),
    }
}

/// A component as a configuration names it.
pub(crate) fn display_name(source: &ComponentSource) -> String {
    match source {
        ComponentSource::Builtin(name) => format!("builtin:{name}"),
        ComponentSource::File(path) => path.display().to_string(),
    }
}

/// The bytes of a component as they are now.
pub fn component_bytes(source: &ComponentSource) -> Result<Cow<'static, [u8]>, LoadFault> {
    match source {
        ComponentSource::Builtin(name) => builtin::component(name)
            .map(Cow::Borrowed)
            .ok_or_else(|| LoadFault::UnknownBuiltin(builtin::names().join(", "))),
        ComponentSource::File(path) => read_file(path).map(Cow::Owned),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadFault> {
    // Checks the file's kind before opening it: opening a pipe would wait for its writer.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(LoadFault::NotAFile("a folder"));
    }
    if !kind.is_file() {
        return Err(LoadFault::NotAFile("a pipe, socket or device"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(LoadFault::TooLarge);
    }
    Ok(bytes)
}

/// Compiles on a thread of its own. A compiler can't be interrupted: one that is too slow is left to
/// finish, and its result is dropped.
fn compile_in_time(
    engine: wasmtime::Engine,
    bytes: Cow<'static, [u8]>,
    compilers: &Arc<()>,
    time: Duration,
) -> Result<Component, LoadFault> {
    /// The most compilers at work, including those that were left to finish.
    const COMPILERS_MAX: usize = 4;
    let at_work = Arc::clone(compilers);
    // The engine and this function hold one each.
    if Arc::strong_count(compilers) > COMPILERS_MAX + 1 {
        return Err(LoadFault::CompilersBusy);
    }
    let (done, compiled) = crossbeam_channel::bounded(1);
    std::thread::Builder::new().name("policy-compile".into()).spawn(move || {
        let component = Component::from_binary(&engine, &bytes);
        drop(at_work);
        // Nobody waits any more if the time was up.
        let _ = done.send(component);
    })?;
    match compiled.recv_timeout(time) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(LoadFault::Compile(one_line(&error))),
        Err(crossbeam_channel::RecvTimeoutError::Timeout) => Err(LoadFault::CompileTime(time)),
        Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
            Err(LoadFault::Compile("the compiler panicked".into()))
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
