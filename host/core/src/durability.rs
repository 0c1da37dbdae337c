//! What an answer's end waits for.

/// Whether the end of an answer waits for the disk (`ledger.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An answer's end waits until its record survives power loss.
    Sync,
    /// It does not: what was answered in the last moments can be lost with the machine.
    Async,
}
