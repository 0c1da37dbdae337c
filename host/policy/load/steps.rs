//! The progress of a load: the pipeline's steps, each with its time.

use serde::Serialize;
use std::time::Instant;

/// A step of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name: `read`, `digest`, `inspect`, `compile`, `link`, `settings`, `configure` or `self-test` of a policy's own
    /// load; `promise`, `identity`, `key spaces` or `activate` behind it.
    pub step: &'static str,
    /// True if the step was passed.
    pub ok: bool,
    /// The time that the step took.
    pub micros: u64,
    /// A note about the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The steps that were taken, in their order.
#[derive(Clone, Debug, Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// Takes a step.
    pub fn take<T, E>(&mut self, step: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let begun = Instant::now();
        let came = work();
        self.taken(step, begun, came.is_ok());
        came
    }

    /// Adds a step that was taken since `begun`.
    pub fn taken(&mut self, step: &'static str, begun: Instant, ok: bool) {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.push(Step { step, ok, micros, note: None });
    }

    /// Adds a note to the last step.
    pub fn note(&mut self, note: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.note = Some(note.into());
        }
    }

    /// All steps, in their order.
    pub fn into_vec(self) -> Vec<Step> {
        self.0
    }
}
