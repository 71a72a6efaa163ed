//! One side's turn, and turns taken: forebay does some rows, then the bare loop the very same ones, round after round.

use std::time::Duration;

use super::options::Amount;
use super::progress::Progress;
use super::usage::settle;
use super::wait::Waits;
use crate::error::Fault;

/// What one side did in one turn.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// The first row, counted over all epochs; what a bare loop begins at.
    pub first_row: u64,
    /// Rows done; batches where the hand-over alone is measured.
    pub items: u64,
    /// From the first to the last of them.
    pub wall: Duration,
    /// Processor time of the process meanwhile, without the consumers' own threads.
    pub cpu: Duration,
    /// Encoded bytes of the rows.
    pub encoded_bytes: u64,
    /// Tensor bytes of the rows.
    pub batch_bytes: u64,
    /// Between one batch and the next, as a consumer sees them.
    pub gaps: Vec<Duration>,
    /// What the consumers waited for.
    pub waits: Waits,
    /// Rows a second of each consumer.
    pub consumers: Vec<f64>,
}

/// Both sides' turns.
#[derive(Clone, Debug)]
pub struct Round {
    /// Ours.
    pub forebay: Pass,
    /// The same rows without us.
    pub bare: Pass,
}

/// A stage: our side, and its ceiling.
pub trait Stage {
    /// The name in tables and JSON.
    fn name(&self) -> &'static str;

    /// Does `amount` of new rows.
    ///
    /// # Errors
    /// What the daemon, the engine or the files say.
    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault>;

    /// Does the rows of `ours` again, without forebay.
    ///
    /// # Errors
    /// What the files say.
    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault>;
}

/// Runs a stage in rounds, the sides in turns, each on a process at rest and after `prepare`.
///
/// # Errors
/// The first error of either side, or of `prepare`.
pub fn rounds(
    stage: &mut dyn Stage,
    count: u32,
    amount: Amount,
    prepare: &dyn Fn() -> Result<(), Fault>,
    progress: &Progress,
) -> Result<Vec<Round>, Fault> {
    let mut done = Vec::new();
    for number in 1..=count {
        prepare()?;
        settle();
        progress.begin(format!("{}, round {number} of {count}, forebay", stage.name()), amount);
        let forebay = stage.forebay(amount, progress)?;
        prepare()?;
        settle();
        progress
            .begin(format!("{}, round {number} of {count}, bare", stage.name()), Amount::Rows(forebay.items));
        let bare = stage.bare(&forebay, progress)?;
        done.push(Round { forebay, bare });
    }
    progress.end();
    Ok(done)
}
