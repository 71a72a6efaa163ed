//! Cuts an epoch into steps: equal batches for every rank, from any position, with a rule for the tail.

use std::fmt;
use std::str::FromStr;

use crate::order::check_rows;
use crate::{BatchPlan, Cursor, Partition, PlanError};

/// What becomes of the rows at the end of an epoch that do not fill a step of all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tail {
    /// They are left out of this epoch.
    Drop,
    /// They make a smaller step, rounded up to a multiple of the data-parallel size with rows that are not valid.
    Partial,
    /// They make a whole step, filled up with rows that are not valid.
    Pad,
}

impl Tail {
    /// The name in configurations and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Partial => "partial",
            Self::Pad => "pad",
        }
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tail {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        match name {
            "drop" => Ok(Self::Drop),
            "partial" => Ok(Self::Partial),
            "pad" => Ok(Self::Pad),
            _ => Err(PlanError::unknown_name("tail", name, "drop, partial, pad")),
        }
    }
}

/// How one rank goes through an epoch: its share, its batch size and the rule for the tail.
///
/// A step at position `p` takes the rows `p..p + G`, with `G = rows_per_rank * size`; rank `r` takes the
/// contiguous `rows_per_rank` of them that begin at `p + r * rows_per_rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    epoch_rows: u64,
    partition: Partition,
    rows_per_rank: u32,
    tail: Tail,
}

impl Cut {
    /// A cut by the rows each rank takes a step.
    ///
    /// # Errors
    /// [`PlanError::NoRows`], [`PlanError::TooManyRows`] for the epoch; [`PlanError::EmptyBatch`],
    /// [`PlanError::GlobalBatchTooLarge`] for the step.
    pub fn new(
        epoch_rows: u64,
        partition: Partition,
        rows_per_rank: u32,
        tail: Tail,
    ) -> Result<Self, PlanError> {
        check_rows(epoch_rows)?;
        if rows_per_rank == 0 {
            return Err(PlanError::EmptyBatch);
        }
        let size = partition.size();
        if rows_per_rank.checked_mul(size).is_none() {
            return Err(PlanError::GlobalBatchTooLarge { rows_per_rank, size, global_batch_max: u32::MAX });
        }
        Ok(Self { epoch_rows, partition, rows_per_rank, tail })
    }

    /// A cut by the rows all ranks take together a step.
    ///
    /// # Errors
    /// [`PlanError::UnevenGlobalBatch`] where the data-parallel size does not divide `global_batch`;
    /// otherwise as [`Cut::new`].
    pub fn from_global_batch(
        global_batch: u32,
        epoch_rows: u64,
        partition: Partition,
        tail: Tail,
    ) -> Result<Self, PlanError> {
        let size = partition.size();
        if !global_batch.is_multiple_of(size) {
            return Err(PlanError::UnevenGlobalBatch { global_batch, size });
        }
        Self::new(epoch_rows, partition, global_batch / size, tail)
    }

    /// Rows of an epoch, at least 1.
    pub fn epoch_rows(&self) -> u64 {
        self.epoch_rows
    }

    /// The rank this cut is for.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Rows a rank takes in a whole step, at least 1.
    pub fn rows_per_rank(&self) -> u32 {
        self.rows_per_rank
    }

    /// Rows all ranks take together in a whole step.
    pub fn global_batch(&self) -> u32 {
        self.rows_per_rank * self.partition.size()
    }

    /// The rule for the tail.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Refuses a cursor that no run over this epoch can have reached.
    ///
    /// # Errors
    /// [`PlanError::PositionBeyondEpoch`] where the position lies behind the epoch's last row.
    pub fn check(&self, cursor: Cursor) -> Result<(), PlanError> {
        if cursor.position <= self.epoch_rows {
            return Ok(());
        }
        Err(PlanError::PositionBeyondEpoch { position: cursor.position, epoch_rows: self.epoch_rows })
    }

    /// The step from `cursor`, or `None` where this epoch has no further one under this cut.
    pub fn batch_at(&self, cursor: Cursor) -> Option<BatchPlan> {
        let rows = self.step_rows(cursor.position)?;
        let end = cursor.position + rows as u64 * self.partition.size() as u64;
        let next = self.settle(Cursor { position: end, ..cursor });
        Some(BatchPlan {
            cursor,
            next,
            first_row: cursor.position + self.partition.rank() as u64 * rows as u64,
            rows,
            epoch_rows: self.epoch_rows,
            last_in_epoch: next.epoch != cursor.epoch,
        })
    }

    /// Steps left in an epoch of which `position` rows are consumed; the same for every rank.
    ///
    /// It is 0 even at position 0 where the tail is dropped and the epoch is shorter than one step.
    pub fn steps_from(&self, position: u64) -> u64 {
        let (left, global_batch) = (self.rows_left(position), self.global_batch() as u64);
        match self.tail {
            Tail::Drop => left / global_batch,
            Tail::Partial | Tail::Pad => left.div_ceil(global_batch),
        }
    }

    /// The cursor itself where its epoch has a further step, else the start of the next epoch.
    ///
    /// It moves one epoch at most: that epoch has no step either where [`Cut::steps_from`] is 0 at its start.
    #[must_use]
    pub fn settle(&self, cursor: Cursor) -> Cursor {
        if self.step_rows(cursor.position).is_some() { cursor } else { cursor.next_epoch() }
    }

    /// Rows each rank takes in the step at `position`.
    fn step_rows(&self, position: u64) -> Option<u32> {
        let left = self.rows_left(position);
        match self.tail {
            _ if left >= self.global_batch() as u64 => Some(self.rows_per_rank),
            _ if left == 0 => None,
            Tail::Drop => None,
            Tail::Partial => Some(left.div_ceil(self.partition.size() as u64) as u32),
            Tail::Pad => Some(self.rows_per_rank),
        }
    }

    fn rows_left(&self, position: u64) -> u64 {
        self.epoch_rows.saturating_sub(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(epoch_rows: u64, rank: u32, size: u32, rows_per_rank: u32, tail: Tail) -> Cut {
        let partition = Partition::new(rank, size).expect("a rank below its size");
        Cut::new(epoch_rows, partition, rows_per_rank, tail).expect("a cut in range")
    }

    fn at(position: u64) -> Cursor {
        Cursor { epoch: 0, position }
    }

    #[test]
    fn drop_ends_before_the_tail_and_settles_in_the_next_epoch() {
        let cut = cut(10, 1, 2, 2, Tail::Drop);
        let last = cut.batch_at(at(4)).expect("a second step");
        assert_eq!((last.first_row, last.rows, last.last_in_epoch), (6, 2, true));
        assert_eq!(last.next, Cursor { epoch: 1, position: 0 });
        assert_eq!(cut.batch_at(at(8)), None);
        assert_eq!((cut.steps_from(0), cut.steps_from(8)), (2, 0));
    }

    #[test]
    fn partial_gives_every_rank_the_rounded_up_share_of_the_tail() {
        // 7 rows over 3 ranks of 4: each takes ceil(7 / 3) = 3 rows, the last of which only one is valid.
        for (rank, first_row, valid_rows) in [(0, 0, 3), (1, 3, 3), (2, 6, 1)] {
            let batch = cut(7, rank, 3, 4, Tail::Partial).batch_at(at(0)).expect("a tail step");
            assert_eq!((batch.first_row, batch.rows, batch.valid_rows()), (first_row, 3, valid_rows));
            assert!(batch.last_in_epoch);
        }
    }

    #[test]
    fn pad_gives_every_rank_a_whole_batch_of_which_some_hold_no_valid_row() {
        for (rank, valid_rows) in [(0, 4), (1, 3), (2, 0)] {
            let batch = cut(7, rank, 3, 4, Tail::Pad).batch_at(at(0)).expect("a tail step");
            assert_eq!((batch.rows, batch.valid_rows()), (4, valid_rows));
        }
    }

    #[test]
    fn an_epoch_of_one_row_has_one_step_or_none() {
        for tail in [Tail::Partial, Tail::Pad] {
            let batch = cut(1, 3, 4, 2, tail).batch_at(at(0)).expect("one step");
            assert_eq!(batch.row(0), crate::PlannedRow { position: 0, valid: false });
            assert_eq!(batch.next, Cursor { epoch: 1, position: 0 });
        }
        let none = cut(1, 3, 4, 2, Tail::Drop);
        assert_eq!((none.batch_at(at(0)), none.steps_from(0)), (None, 0));
        assert_eq!(none.settle(at(0)), Cursor { epoch: 1, position: 0 });
    }

    #[test]
    fn the_end_of_an_epoch_and_any_position_behind_it_have_no_step() {
        for tail in [Tail::Drop, Tail::Partial, Tail::Pad] {
            for position in [10, 11, u64::MAX] {
                let cut = cut(10, 0, 1, 1, tail);
                assert_eq!((cut.batch_at(at(position)), cut.steps_from(position)), (None, 0));
                let behind = PlanError::PositionBeyondEpoch { position, epoch_rows: 10 };
                assert_eq!(cut.check(at(position)), if position > 10 { Err(behind) } else { Ok(()) });
            }
        }
    }

    #[test]
    fn a_cut_that_cannot_be_made_says_why() {
        let whole = Partition::WHOLE;
        let eighth = Partition::new(7, 8).expect("a rank below its size");
        assert_eq!(Cut::new(0, whole, 1, Tail::Drop), Err(PlanError::NoRows));
        assert!(matches!(Cut::new(u64::MAX, whole, 1, Tail::Drop), Err(PlanError::TooManyRows { .. })));
        assert_eq!(Cut::new(1, whole, 0, Tail::Drop), Err(PlanError::EmptyBatch));
        assert_eq!(Cut::from_global_batch(0, 1, eighth, Tail::Pad), Err(PlanError::EmptyBatch));
        let too_large = Cut::new(1, eighth, u32::MAX / 8 + 1, Tail::Drop);
        assert!(matches!(too_large, Err(PlanError::GlobalBatchTooLarge { size: 8, .. })));
        let uneven = PlanError::UnevenGlobalBatch { global_batch: 100, size: 8 };
        assert_eq!(Cut::from_global_batch(100, 1, eighth, Tail::Drop), Err(uneven));
        let even = Cut::from_global_batch(96, 100, eighth, Tail::Pad).expect("8 divides 96");
        assert_eq!((even.rows_per_rank(), even.global_batch()), (12, 96));
        assert_eq!((even.epoch_rows(), even.partition(), even.tail()), (100, eighth, Tail::Pad));
    }

    #[test]
    fn a_tail_reads_back_from_its_name() {
        for tail in [Tail::Drop, Tail::Partial, Tail::Pad] {
            assert_eq!(tail.to_string().parse(), Ok(tail));
        }
        assert!(matches!("keep".parse::<Tail>(), Err(PlanError::UnknownName { what: "tail", .. })));
    }
}
