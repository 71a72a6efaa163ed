//! One rank's batch: a contiguous range of rows, wrapped at the end of its epoch.

use crate::Cursor;

/// A row of a batch as it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRow {
    /// Its place in the epoch, already wrapped into `0..epoch_rows`.
    pub position: u64,
    /// False where the row only fills up the shape by repeating an early row of the epoch.
    pub valid: bool,
}

/// What a batch holds, from its key alone: no rank, no partition, no session. The one implementation of wrapping.
///
/// Rows are `first_row..first_row + rows`; those behind the epoch's end wrap around and are not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchRange {
    /// Epoch whose order is meant.
    pub epoch: u64,
    /// First row, not wrapped: may lie behind the end of the epoch in a padded tail.
    pub first_row: u64,
    /// How many rows.
    pub rows: u32,
}

impl BatchRange {
    /// Row `i` of the batch, `i` in `0..rows`, in an epoch of `epoch_rows` (at least 1).
    pub fn row(self, i: u32, epoch_rows: u64) -> PlannedRow {
        let unwrapped = self.first_row as u128 + i as u128;
        if unwrapped < epoch_rows as u128 {
            PlannedRow { position: unwrapped as u64, valid: true }
        } else {
            PlannedRow { position: (unwrapped % epoch_rows as u128) as u64, valid: false }
        }
    }

    /// How many rows are valid; they come first.
    pub fn valid_rows(self, epoch_rows: u64) -> u32 {
        epoch_rows.saturating_sub(self.first_row).min(self.rows as u64) as u32
    }

    /// All rows in order.
    pub fn iter(self, epoch_rows: u64) -> impl ExactSizeIterator<Item = PlannedRow> {
        (0..self.rows).map(move |i| self.row(i, epoch_rows))
    }
}

/// The next batch of one rank. Made by [`crate::Cut::batch_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlan {
    /// Where the run stands before this step.
    pub cursor: Cursor,
    /// Where it stands after it, settled: the start of the next epoch after the last step of this one.
    pub next: Cursor,
    /// This rank's first row, not wrapped.
    pub first_row: u64,
    /// This rank's rows; the same for all ranks of the step.
    pub rows: u32,
    /// Rows of the epoch.
    pub epoch_rows: u64,
    /// Whether this is the epoch's last step.
    pub last_in_epoch: bool,
}

impl BatchPlan {
    /// The range that names this batch's content to any daemon.
    pub fn range(&self) -> BatchRange {
        BatchRange { epoch: self.cursor.epoch, first_row: self.first_row, rows: self.rows }
    }

    /// Row `i` of the batch, `i` in `0..rows`.
    pub fn row(&self, i: u32) -> PlannedRow {
        self.range().row(i, self.epoch_rows)
    }

    /// How many rows are valid; they come first.
    pub fn valid_rows(&self) -> u32 {
        self.range().valid_rows(self.epoch_rows)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PlannedRow> + use<> {
        self.range().iter(self.epoch_rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_the_end_repeat_the_epochs_first_rows_and_are_not_valid() {
        let range = BatchRange { epoch: 0, first_row: 8, rows: 5 };
        let rows: Vec<_> = range.iter(10).map(|row| (row.position, row.valid)).collect();
        assert_eq!(rows, [(8, true), (9, true), (0, false), (1, false), (2, false)]);
        assert_eq!(range.valid_rows(10), 2);
    }

    #[test]
    fn a_range_wraps_more_than_once_in_a_tiny_epoch_and_anywhere_without_overflow() {
        let tiny = BatchRange { epoch: 0, first_row: 0, rows: 5 };
        assert_eq!(tiny.iter(2).map(|row| row.position).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        let far = BatchRange { epoch: 0, first_row: u64::MAX, rows: u32::MAX };
        assert_eq!(
            far.row(u32::MAX - 1, 3),
            PlannedRow { position: (u32::MAX - 1) as u64 % 3, valid: false }
        );
        assert_eq!(far.valid_rows(3), 0);
    }
}
