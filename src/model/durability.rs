//! What an answer is worth.

/// What an answer to a call that changed something means. See [`crate::OpenOptions::durability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// It is on the disk: neither a crash of the process nor one of the machine takes it back.
    #[default]
    Full,
    /// The operating system has it: a crash of the process takes nothing back, a power cut or a crash of the machine may
    /// take back the last commits. What is left is then the store as it was after an earlier one.
    Relaxed,
}
