//! The places of a component's hooks among its exports.

use super::bindings::hooks;
use super::guest::Hooks;
use crate::engine::state::InstanceState;
use crate::interface::hooks::{Exports, Interface};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

/// The places of a component's hooks among its exports, looked up once.
pub(crate) struct Indices {
    policy: hooks::policy::GuestIndices,
    outcome: Option<hooks::outcome::GuestIndices>,
    resolution: Option<hooks::resolution::GuestIndices>,
    presentation: Option<hooks::presentation::GuestIndices>,
}

impl Indices {
    pub(crate) fn new(component: &InstancePre<InstanceState>, exports: Exports) -> wasmtime::Result<Self> {
        use hooks::{outcome, policy, presentation, resolution};
        Ok(Self {
            policy: policy::GuestIndices::new(component)?,
            outcome: exports
                .has(Interface::Outcome)
                .then(|| outcome::GuestIndices::new(component))
                .transpose()?,
            resolution: exports
                .has(Interface::Resolution)
                .then(|| resolution::GuestIndices::new(component))
                .transpose()?,
            presentation: exports
                .has(Interface::Presentation)
                .then(|| presentation::GuestIndices::new(component))
                .transpose()?,
        })
    }

    /// The hooks of an instance, their types checked.
    pub(crate) fn hooks(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<Hooks> {
        Ok(Hooks {
            policy: self.policy.load(&mut *store, instance)?,
            outcome: self.outcome.as_ref().map(|outcome| outcome.load(&mut *store, instance)).transpose()?,
            resolution: self
                .resolution
                .as_ref()
                .map(|resolution| resolution.load(&mut *store, instance))
                .transpose()?,
            presentation: (self.presentation.as_ref())
                .map(|presentation| presentation.load(&mut *store, instance))
                .transpose()?,
        })
    }
}
