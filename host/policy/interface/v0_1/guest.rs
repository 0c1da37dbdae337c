//! Calls of an instance's hooks.

use super::bindings::hooks;
use super::{outcome, policy, presentation, resolution};
use crate::engine::state::InstanceState;
use crate::interface::failure::Failure;
use crate::interface::hooks::{HookCall, HookResult};
use crate::interface::{Operation, Plan, Verdict};
use std::time::Duration;
use wasmtime::Store;

/// The hooks of one instance.
pub(crate) struct Hooks {
    pub(super) policy: hooks::policy::Guest,
    pub(super) outcome: Option<hooks::outcome::Guest>,
    pub(super) resolution: Option<hooks::resolution::Guest>,
    pub(super) presentation: Option<hooks::presentation::Guest>,
}

impl Hooks {
    /// Calls `configure`.
    pub(crate) fn configure(
        &self,
        store: &mut Store<InstanceState>,
        settings: &str,
        time: Duration,
    ) -> Result<Plan, Failure> {
        policy::configure(&self.policy, store, settings, time)
    }

    /// Calls `decide`.
    pub(crate) fn decide(
        &self,
        store: &mut Store<InstanceState>,
        operation: &Operation<'_>,
        time: Duration,
    ) -> Result<Verdict, Failure> {
        policy::decide(&self.policy, store, operation, self.resolution.is_some(), time)
    }

    /// Calls any other hook. A hook that is not exported returns nothing.
    pub(crate) fn call(
        &self,
        store: &mut Store<InstanceState>,
        call: &HookCall,
        time: Duration,
    ) -> Result<HookResult, Failure> {
        let Self { policy: _, outcome, resolution, presentation } = self;
        let result = match call {
            HookCall::Settle { receipt, reply } => outcome
                .as_ref()
                .map(|guest| outcome::settle(guest, store, receipt, reply, time).map(HookResult::Settle)),
            HookCall::Question { receipt } => resolution
                .as_ref()
                .map(|guest| resolution::question(guest, store, receipt, time).map(HookResult::Question)),
            HookCall::Reading { receipt, asked, reply } => resolution.as_ref().map(|guest| {
                resolution::reading(guest, store, receipt, asked, reply, time).map(HookResult::Reading)
            }),
            HookCall::Present { receipt, operation, reply } => presentation.as_ref().map(|guest| {
                let operation = &operation.borrowed();
                presentation::present(guest, store, receipt, operation, reply, time).map(HookResult::Present)
            }),
            HookCall::Explain { operation, problem } => presentation.as_ref().map(|guest| {
                let operation = &operation.borrowed();
                presentation::explain(guest, store, operation, problem, time).map(HookResult::Explain)
            }),
        };
        result.unwrap_or_else(|| Ok(HookResult::nothing(call.hook())))
    }
}
