//! The generations that decided executions. If an outcome stays unknown, the deciding generation's
//! `resolution` writes the questions about it, as long as that generation exists (`design/policies.md`).

use oncegate_core::ExecutionId;
use oncegate_policy::Generation;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many executions are remembered. For older ones the newest generation of their key space is asked.
const EXECUTIONS_MAX: usize = 16_384;

/// Generations by the executions that they decided, as far as this process remembers them. The table keeps
/// no generation alive.
#[derive(Debug, Default)]
pub struct ExecutionGenerations(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    generations: HashMap<ExecutionId, Weak<Generation>>,
    /// The executions, earliest first. Some may be forgotten already.
    order: VecDeque<ExecutionId>,
}

impl ExecutionGenerations {
    /// Remembers which generation decided an execution.
    pub fn note(&self, execution: ExecutionId, generation: &Arc<Generation>) {
        let mut remembered = self.remembered();
        if remembered.order.len() >= EXECUTIONS_MAX {
            let Remembered { generations, order } = &mut *remembered;
            order.retain(|execution| generations.contains_key(execution));
            // Forgetting half of the executions at once spares doing this each time.
            let many = order.len().saturating_sub(EXECUTIONS_MAX / 2);
            for old in order.drain(..many) {
                generations.remove(&old);
            }
        }
        remembered.generations.insert(execution, Arc::downgrade(generation));
        remembered.order.push_back(execution);
    }

    /// Forgets an execution whose outcome is known.
    pub fn forget(&self, execution: ExecutionId) {
        self.remembered().generations.remove(&execution);
    }

    /// The generation that decided the execution, if it still exists.
    pub fn of(&self, execution: ExecutionId) -> Option<Arc<Generation>> {
        self.remembered().generations.get(&execution).and_then(Weak::upgrade)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
