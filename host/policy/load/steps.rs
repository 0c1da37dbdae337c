//! How far a load came: the pipeline's steps, each with its time.

use serde::Serialize;
use std::time::Instant;

/// One step of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name: `read`, `digest`, `inspect`, `compile`, `link`, `settings`, `configure`, `self-test`,
    /// `promise`, `activate`.
    pub step: &'static str,
    /// Whether it was passed.
    pub ok: bool,
    /// How long it took.
    pub micros: u64,
    /// What is worth knowing of it.
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
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.push(Step { step, ok: came.is_ok(), micros, note: None });
        came
    }

    /// Says something of the last step.
    pub fn note(&mut self, note: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.note = Some(note.into());
        }
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Step> {
        self.0
    }
}
