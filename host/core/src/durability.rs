//! Whether the end of an answer waits for the disk.

/// Whether the end of an answer waits for the disk (`ledger.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An answer's end waits until its record survives power loss.
    Sync,
    /// The end does not wait: answers of the last moments can be lost with the machine.
    Async,
}
