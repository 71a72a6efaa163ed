//! Where a run stands.

/// A place between two rows: `position` rows of epoch `epoch` are consumed, by all ranks together.
///
/// It says nothing about ranks and batch sizes, so a run goes on from it under any [`crate::Cut`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cursor {
    /// Epochs finished, from 0.
    pub epoch: u64,
    /// Rows of this epoch consumed by all ranks together.
    pub position: u64,
}

impl Cursor {
    /// The start of the epoch after this one.
    #[must_use]
    pub const fn next_epoch(self) -> Self {
        Self { epoch: self.epoch.saturating_add(1), position: 0 }
    }
}
