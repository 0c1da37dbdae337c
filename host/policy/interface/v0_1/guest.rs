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
        Ok(match (call, outcome, resolution, presentation) {
            (HookCall::Settle { receipt, reply }, Some(guest), ..) => {
                HookResult::Settle(outcome::settle(guest, store, receipt, reply, time)?)
            }
            (HookCall::Question { receipt }, _, Some(guest), _) => {
                HookResult::Question(resolution::question(guest, store, receipt, time)?)
            }
            (HookCall::Reading { receipt, asked, reply }, _, Some(guest), _) => {
                HookResult::Reading(resolution::reading(guest, store, receipt, asked, reply, time)?)
            }
            (HookCall::Present { receipt, operation, reply }, .., Some(guest)) => {
                let operation = &operation.borrowed();
                HookResult::Present(presentation::present(guest, store, receipt, operation, reply, time)?)
            }
            (HookCall::Explain { operation, problem }, .., Some(guest)) => {
                let operation = &operation.borrowed();
                HookResult::Explain(presentation::explain(guest, store, operation, problem, time)?)
            }
            (call, ..) => HookResult::nothing(call.hook()),
        })
    }
}
