//! Which generation decided which execution. Should the outcome stay unknown, that generation's
//! `resolution` writes the questions about it, as long as the generation is there (`design/policies.md`).

use crate::policy::Generation;
use oncegate_core::ExecutionId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// So many executions are remembered; of older ones the newest generation of their key space is asked.
const EXECUTIONS_MAX: usize = 16_384;

/// Generations by the executions that they decided, as far as this process remembers them. None is kept
/// alive by it.
#[derive(Debug, Default)]
pub struct ExecutionGenerations(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    generations: HashMap<ExecutionId, Weak<Generation>>,
    /// Earliest first; some may be forgotten already.
    order: VecDeque<ExecutionId>,
}

impl ExecutionGenerations {
    /// Remembers which generation decided an execution.
    pub fn note(&self, execution: ExecutionId, generation: &Arc<Generation>) {
        let mut remembered = self.remembered();
        if remembered.order.len() >= EXECUTIONS_MAX {
            let Remembered { generations, order } = &mut *remembered;
            order.retain(|execution| generations.contains_key(execution));
            // Half of them at once, so that this isn't done each time.
            let many = order.len().saturating_sub(EXECUTIONS_MAX / 2);
            for old in order.drain(..many) {
                generations.remove(&old);
            }
        }
        remembered.generations.insert(execution, Arc::downgrade(generation));
        remembered.order.push_back(execution);
    }

    /// The outcome of the execution is known.
    pub fn forget(&self, execution: ExecutionId) {
        self.remembered().generations.remove(&execution);
    }

    /// The generation that decided the execution, if it is still there.
    pub fn of(&self, execution: ExecutionId) -> Option<Arc<Generation>> {
        self.remembered().generations.get(&execution).and_then(Weak::upgrade)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
