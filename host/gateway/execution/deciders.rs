//! Which generations decided operations that may have to be asked about: their questions are theirs to
//! write, as long as they are there (DESIGN §6, "The policy of an operation").

use crate::policy::Generation;
use oncegate_core::ExecutionId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// So many executions are remembered; of older ones the newest generation of their key space is asked.
const EXECUTIONS_MAX: usize = 16_384;

/// Generations by the executions that they decided, as far as this process remembers them. It keeps none
/// of them alive.
#[derive(Debug, Default)]
pub struct Deciders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    generations: HashMap<ExecutionId, Weak<Generation>>,
    /// Earliest first; some may be forgotten already.
    order: VecDeque<ExecutionId>,
}

impl Deciders {
    /// Remembers who decided an execution.
    pub fn note(&self, execution: ExecutionId, generation: &Arc<Generation>) {
        let mut known = self.known();
        if known.order.len() >= EXECUTIONS_MAX {
            let Known { generations, order } = &mut *known;
            order.retain(|execution| generations.contains_key(execution));
            // Half of them at once, so that this isn't done each time.
            let many = order.len().saturating_sub(EXECUTIONS_MAX / 2);
            for old in order.drain(..many) {
                generations.remove(&old);
            }
        }
        known.generations.insert(execution, Arc::downgrade(generation));
        known.order.push_back(execution);
    }

    /// What came of it is known.
    pub fn forget(&self, execution: ExecutionId) {
        self.known().generations.remove(&execution);
    }

    /// Who decided it, if that is still there.
    pub fn of(&self, execution: ExecutionId) -> Option<Arc<Generation>> {
        self.known().generations.get(&execution).and_then(Weak::upgrade)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
