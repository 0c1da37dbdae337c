//! An instance of a component, and the linked policy that instances are made from.

use crate::engine::epoch_clock::{EpochClock, Runner};
use crate::engine::limits::INSTANCE_CALLS_MAX;
use crate::engine::state::InstanceState;
use crate::interface::failure::{Broken, Failure, one_line};
use crate::interface::hooks::{HookCall, HookResult};
use crate::interface::v0_1::{Hooks, Indices};
use crate::interface::{Operation, Plan, Verdict};
use crate::run::budget::CallBudget;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::{self, InstancePre};

/// A linked component with the settings and limits of its instances.
#[derive(Clone)]
pub(crate) struct LinkedPolicy {
    pub(crate) policy: Arc<str>,
    pub(crate) component: InstancePre<InstanceState>,
    pub(crate) indices: Arc<Indices>,
    /// The settings as JSON text.
    pub(crate) settings: Arc<str>,
    /// Bytes of memory that an instance may have.
    pub(crate) memory: usize,
    /// The clock that must know when guests run, so that the epoch moves.
    pub(crate) clock: Arc<EpochClock>,
}

impl LinkedPolicy {
    /// The same component with other settings.
    pub(crate) fn with_settings(&self, settings: &str) -> Self {
        Self { settings: settings.into(), ..self.clone() }
    }

    /// Makes an instance and configures it.
    pub(crate) fn instance(&self, budget: CallBudget) -> Result<(Instance, Plan), Failure> {
        let mut runner = self.clock.runner();
        let (mut store, made) = self.start(budget, &mut runner)?;
        let hooks = self.indices.hooks(&mut store, &made);
        let hooks = hooks.map_err(|error| Failure::Instantiate(one_line(&error)))?;
        let mut instance = Instance { store, hooks, calls: 0, memory_mark: usize::MAX, runner };
        let plan =
            instance.run(budget.setup, |hooks, store, time| hooks.configure(store, &self.settings, time))?;
        // A guest that has used half of the room it had when it started is made anew before it reaches the
        // limit in the middle of a call.
        let memory = instance.store.data().memory();
        instance.memory_mark = memory + self.memory.saturating_sub(memory) / 2;
        Ok((instance, plan))
    }

    /// Starts the component in a store of its own, within bounds.
    fn start(
        &self,
        budget: CallBudget,
        runner: &mut Runner,
    ) -> Result<(Store<InstanceState>, component::Instance), Failure> {
        let state = InstanceState::new(Arc::clone(&self.policy), self.memory);
        let mut store = Store::new(self.component.engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut context| Ok(context.data_mut().overdue()));
        let _running = runner.begin();
        let first = store.data_mut().grant(ticks(budget.setup));
        store.set_epoch_deadline(first);
        let made = self.component.instantiate(&mut store);
        let made = made.map_err(|error| Failure::of_instantiation(&error, budget.setup))?;
        Ok((store, made))
    }

    /// Makes an instance whose plan must be `plan`: `configure` is pure.
    pub(crate) fn instance_of(&self, plan: &Plan, budget: CallBudget) -> Result<Instance, Failure> {
        let (instance, found) = self.instance(budget)?;
        if found != *plan {
            let what = "`configure` returned another plan than at load: it must be pure";
            return Err(Broken { place: "plan", what: what.into() }.into());
        }
        Ok(instance)
    }
}

/// The settings as `configure` gets them.
pub(crate) fn settings_text(settings: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(settings.clone()).to_string()
}

/// A configured instance. After any failed call, the instance is not to be used again.
pub(crate) struct Instance {
    store: Store<InstanceState>,
    hooks: Hooks,
    calls: u32,
    memory_mark: usize,
    runner: Runner,
}

impl Instance {
    /// Calls `decide`.
    pub(crate) fn decide(&mut self, operation: &Operation<'_>, time: Duration) -> Result<Verdict, Failure> {
        self.run(time, |hooks, store, time| hooks.decide(store, operation, time))
    }

    /// Calls any other hook.
    pub(crate) fn call(&mut self, call: &HookCall, time: Duration) -> Result<HookResult, Failure> {
        self.run(time, |hooks, store, time| hooks.call(store, call, time))
    }

    /// Keeps lines of the log for [`Self::take_log`] from now on, instead of logging them.
    pub(crate) fn collect_log(&mut self) {
        self.store.data_mut().collect_log();
    }

    /// The lines that were kept.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        self.store.data_mut().take_log()
    }

    /// Bytes of linear memory that the instance has.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().memory()
    }

    /// True if its last call took longer than a worker can spare.
    pub(crate) fn lingered(&self) -> bool {
        self.store.data().lingered()
    }

    /// True if the instance has served long enough or grown enough to be replaced.
    pub(crate) fn is_worn(&self) -> bool {
        self.calls >= INSTANCE_CALLS_MAX || self.store.data().memory() > self.memory_mark
    }

    fn run<T>(
        &mut self,
        time: Duration,
        hook: impl FnOnce(&Hooks, &mut Store<InstanceState>, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.calls += 1;
        let _running = self.runner.begin();
        let first = self.store.data_mut().grant(ticks(time));
        self.store.set_epoch_deadline(first);
        let handed = self.store.data_mut().enter();
        self.store.set_hostcall_fuel(handed);
        let result = hook(&self.hooks, &mut self.store, time);
        self.store.data_mut().leave();
        result
    }
}

/// A deadline in ticks of the epoch, which comes every millisecond: the current one is partly over.
fn ticks(time: Duration) -> u64 {
    // The calculation avoids the 128 bits of `as_millis`: every request comes this way.
    time.as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(time.subsec_millis()))
        .saturating_add(1)
        .min(u64::MAX >> 1)
}
