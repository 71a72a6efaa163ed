//! The bare loop beside itself: what two cores can do without a loader, and how far noise alone moves a ratio.

use super::bare::Bare;
use super::options::Amount;
use super::pass::{Pass, Stage};
use super::progress::Progress;
use crate::error::Fault;

/// The bare loop, in turns with itself.
pub struct Floor {
    name: &'static str,
    bare: Bare,
    next_row: u64,
}

impl Floor {
    /// From the first row of the first epoch.
    pub fn new(name: &'static str, bare: Bare) -> Self {
        Self { name, bare, next_row: 0 }
    }
}

impl Stage for Floor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let pass = self.bare.advance(self.next_row, amount, progress)?;
        self.next_row += pass.items;
        Ok(pass)
    }

    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        self.bare.repeat(ours, progress)
    }
}
